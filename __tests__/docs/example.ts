import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { LIBRARY_FLAGS } from '../support/library.ts';
import { eventually } from '../support/servers.ts';
import { ExampleProject } from './example-project.ts';
import { BLOCKS, type Block, ROOT } from './pages.ts';

/** What of an example is another on the machine of the test: text for text. */
export type Replacements = Readonly<Record<string, string>>;

/** A program of the documentation that runs. */
export class Example {
  readonly #child: ChildProcess;
  readonly #project: ExampleProject;
  readonly #ports = new Map<number, number>();
  output = '';

  constructor(child: ChildProcess, project: ExampleProject) {
    this.#child = child;
    this.#project = project;
    child.on('message', (message) => {
      const { asked, port } = message as { asked: number; port: number };
      this.#ports.set(asked, port);
    });
    for (const stream of [child.stdout, child.stderr]) {
      stream?.on('data', (chunk) => {
        this.output += chunk;
      });
    }
  }

  /** The port in the place of one that the program names, once it listens there. */
  async port(asked = 8080): Promise<number> {
    const listens = () => this.#ports.has(asked) || this.#child.exitCode !== null;
    await eventually(`the example listens on ${asked}`, listens);
    const port = this.#ports.get(asked);
    if (port === undefined) throw new Error(`the example has ended: ${this.output}`);
    return port;
  }

  async url(path = '/', asked = 8080): Promise<string> {
    return `http://127.0.0.1:${await this.port(asked)}${path}`;
  }

  /** Asks it for a path. */
  async get(path: string, headers: Record<string, string> = {}, method = 'GET', asked = 8080): Promise<Response> {
    return fetch(await this.url(path, asked), { method, headers });
  }

  /** Sends a signal, and gives the exit code. */
  async stop(signal: NodeJS.Signals): Promise<number | null> {
    const [code] = (await this.#signalled(signal)) as [number | null];
    return code;
  }

  async close(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) await this.#signalled('SIGKILL');
    this.#project.close();
  }

  async #signalled(signal: NodeJS.Signals): Promise<unknown[]> {
    const exit = once(this.#child, 'exit');
    this.#child.kill(signal);
    return exit;
  }
}

/** Starts the program that is marked `<!-- run: name -->`. */
export function runExample(name: string, replacements: Replacements = {}): Example {
  const block = BLOCKS.find(({ run }) => run === name);
  if (block === undefined) throw new Error(`no page has an example ${name}`);
  return runBlock(block, replacements);
}

/** Starts a block that is a whole program. */
export function runBlock({ code, language, page, line }: Block, replacements: Replacements = {}): Example {
  let program = code;
  for (const [text, other] of Object.entries(replacements)) {
    if (!program.includes(text)) throw new Error(`${page}:${line} has no ${text}`);
    program = program.replaceAll(text, other);
  }
  const project = new ExampleProject();
  const child = fork(project.write(`example.${language}`, program), {
    cwd: project.folder,
    execArgv: [...LIBRARY_FLAGS, '--import', join(ROOT, '__tests__/docs/any-port.ts')],
    env: { ...process.env, NODE_OPTIONS: '' },
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  });
  return new Example(child, project);
}

/** The backends that the examples name, as real ones. */
export const backendsAt = (...urls: readonly string[]): Replacements =>
  Object.fromEntries(urls.map((url, index) => [`http://localhost:${8081 + index}`, url]));
