import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';

/** One file needs another one, or a package. */
export interface Import {
  /** A path below the root. */
  readonly from: string;
  /** A path below the root, or the name of a package with what follows it, or `node:…`. */
  readonly to: string;
  /** Whether nothing of it is left in what runs. */
  readonly isType: boolean;
  /** Whether it is loaded only where it is called for. */
  readonly isDynamic?: boolean;
}

const STATEMENT = /^(?:import|export)\s+(type\s)?((?:[\w$*\s,]|\{[^}]*\})*?)\s*from\s+'([^']+)'/gm;
const BARE = /^import\s+'([^']+)'/gm;
const CALL = /\bimport\(\s*'([^']+)'\s*\)/g;

/** All imports of the files below some folders, resolved. */
export function importsBelow(root: string, ...folders: readonly string[]): Import[] {
  const files = folders.flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
      .filter((file) => file.endsWith('.ts'))
      .map((file) => join(folder, file)),
  );
  return files.flatMap((file) => importsOf(root, file));
}

/** @throws {Error} for an import that this cannot read, or that leads nowhere. */
function importsOf(root: string, from: string): Import[] {
  const source = readFileSync(join(root, from), 'utf8')
    .replace(/\/\*[\s\S]*?\*\//g, '')
    .replace(/^\s*\/\/.*$/gm, '');
  const found = [
    ...[...source.matchAll(STATEMENT)].map(([, type, names = '', name = '']) => ({
      name,
      isType: type !== undefined || hasOnlyTypes(names),
    })),
    ...[...source.matchAll(BARE)].map(([, name = '']) => ({ name, isType: false })),
    ...[...source.matchAll(CALL)].map(([, name = '']) => ({ name, isType: false, isDynamic: true })),
  ];
  const expected = source.match(/^(?:import|export)\b[^;=(]*?\bfrom '|^import '|\bimport\(/gm)?.length ?? 0;
  if (found.length !== expected) throw new Error(`${from}: ${found.length} of ${expected} imports were read`);
  return found.map(({ name, ...how }) => ({ from, to: resolved(root, from, name), ...how }));
}

/** `{ type A, type B }` */
function hasOnlyTypes(names: string): boolean {
  const list = /^\{([\s\S]*)\}$/.exec(names.trim())?.[1]?.split(',') ?? [];
  const given = list.map((name) => name.trim()).filter((name) => name !== '');
  return given.length > 0 && given.every((name) => name.startsWith('type '));
}

function resolved(root: string, from: string, name: string): string {
  if (!name.startsWith('.')) return name;
  const path = relative(root, join(root, dirname(from), name));
  if (!existsSync(join(root, path))) throw new Error(`${from} imports ${path}, which does not exist`);
  return path;
}

/** The groups of files that need each other (Tarjan's strongly connected components), each sorted. */
export function cycles(imports: readonly Import[]): string[][] {
  const next = new Map<string, string[]>();
  for (const { from, to } of imports) next.set(from, [...(next.get(from) ?? []), to]);
  const order = new Map<string, number>();
  const lowest = new Map<string, number>();
  const stack: string[] = [];
  const found: string[][] = [];
  const visit = (file: string): void => {
    order.set(file, order.size);
    lowest.set(file, order.size - 1);
    stack.push(file);
    for (const other of next.get(file) ?? []) {
      if (!order.has(other)) visit(other);
      if (stack.includes(other)) lowest.set(file, Math.min(lowest.get(file) as number, lowest.get(other) as number));
    }
    if (lowest.get(file) !== order.get(file)) return;
    const group = stack.splice(stack.indexOf(file));
    if (group.length > 1 || next.get(file)?.includes(file)) found.push(group.sort());
  };
  for (const file of next.keys()) if (!order.has(file)) visit(file);
  return found;
}
