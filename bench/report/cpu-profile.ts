/** The parts of V8's .cpuprofile that self time needs. */
export interface CpuProfile {
  readonly nodes: readonly {
    readonly id: number;
    readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number };
  }[];
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

export interface FunctionTime {
  readonly name: string;
  /** The npm package, `expressway`, `bench`, `node`, or `(vm)` for the engine itself. */
  readonly package: string;
  /** File and line, from the root of the repository or of the package. */
  readonly place: string;
  readonly micros: number;
}

const VM = '(vm)';

/** Self time per function, the most expensive first, without the time in which nothing ran. */
export function selfTimes(profile: CpuProfile, root: URL): FunctionTime[] {
  const microsOf = new Map<number, number>();
  for (const [index, id] of profile.samples.entries()) {
    microsOf.set(id, (microsOf.get(id) ?? 0) + (profile.timeDeltas[index] ?? 0));
  }
  const functions = new Map<string, FunctionTime>();
  for (const { id, callFrame } of profile.nodes) {
    const micros = microsOf.get(id) ?? 0;
    if (micros === 0 || !countsAsWork(callFrame)) continue;
    const { name, place } = locate(callFrame.url, callFrame.lineNumber, root);
    const functionName = callFrame.functionName === '' ? '(anonymous)' : callFrame.functionName;
    // One function has a node per stack that leads to it.
    const key = `${functionName} ${callFrame.url} ${callFrame.lineNumber}`;
    const sum = (functions.get(key)?.micros ?? 0) + micros;
    functions.set(key, { name: functionName, package: name, place, micros: sum });
  }
  return [...functions.values()].sort((a, b) => b.micros - a.micros);
}

/** Self time per package, the most expensive first. */
export function packageTimes(functions: readonly FunctionTime[]): { name: string; micros: number }[] {
  const sums = new Map<string, number>();
  for (const { package: name, micros } of functions) sums.set(name, (sums.get(name) ?? 0) + micros);
  return [...sums].map(([name, micros]) => ({ name, micros })).sort((a, b) => b.micros - a.micros);
}

function countsAsWork({ functionName, url }: CpuProfile['nodes'][number]['callFrame']): boolean {
  // The profiler's own start shows up as time of whoever talked to it.
  return functionName !== '(idle)' && !url.startsWith('node:inspector');
}

function locate(url: string, lineNumber: number, root: URL): { name: string; place: string } {
  // The names of WebAssembly modules (llhttp, for one) say nothing.
  if (url === '' || url.startsWith('wasm:')) return { name: VM, place: '' };
  // V8 counts lines from 0.
  const line = lineNumber + 1;
  if (url.startsWith('node:')) return { name: 'node', place: `${url}:${line}` };
  const path = decodeURIComponent(url.startsWith('file:') ? new URL(url).pathname : url);
  // The innermost one: a package may have its own node_modules.
  const installed = /^.*\/node_modules\/((?:@[^/]+\/)?[^/]+)\/(.*)$/.exec(path);
  if (installed !== null) return { name: installed[1] as string, place: `${installed[2]}:${line}` };
  const own = path.startsWith(root.pathname) ? path.slice(root.pathname.length) : path.replace(/^.*\//, '');
  return { name: own.startsWith('bench/') ? 'bench' : 'expressway', place: `${own}:${line}` };
}
