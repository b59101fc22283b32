import type { ChildProcess } from 'node:child_process';
import type { Question, Ready, Reply } from './child-side.ts';

const START_MS = 15_000;
const STOP_MS = 2_000;
const STDERR_KEPT = 4_000;

interface Waiting {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

/** A process of the harness, seen from the parent: ask it, stop it. Whatever it waits for is bounded. */
export class Child {
  readonly name: string;
  readonly #process: ChildProcess;
  readonly #waiting = new Map<number, Waiting>();
  readonly #exited: Promise<void>;
  #lastId = 0;
  #stderr = '';
  #ended: string | undefined;

  constructor(name: string, child: ChildProcess) {
    this.name = name;
    this.#process = child;
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr = (this.#stderr + text).slice(-STDERR_KEPT);
    });
    child.on('message', (message: Reply | Ready) => this.#heard(message));
    this.#exited = new Promise((resolve) => {
      child.once('error', (error) => this.#over(error.message, resolve));
      child.once('close', (code, signal) => this.#over(`ended with ${signal ?? code}`, resolve));
    });
  }

  /** What the child announces once it may be used. */
  async ready<T>(): Promise<T> {
    return (await this.#await(0, START_MS, 'start')) as T;
  }

  async ask<T>(question: string, argument?: unknown, withinMs = 10_000): Promise<T> {
    if (this.#ended !== undefined) throw this.#failure(this.#ended);
    const id = ++this.#lastId;
    const answer = this.#await(id, withinMs, `answer "${question}"`);
    this.#process.send({ id, ask: question, argument } satisfies Question, (error) => {
      if (error !== null) this.#settle(id, (waiting) => waiting.reject(this.#failure(error.message)));
    });
    return (await answer) as T;
  }

  async stop(): Promise<void> {
    if (this.#ended !== undefined) return;
    this.#process.kill('SIGTERM');
    const patience = setTimeout(() => this.kill(), STOP_MS);
    await this.#exited;
    clearTimeout(patience);
  }

  kill(): void {
    if (this.#ended === undefined) this.#process.kill('SIGKILL');
  }

  #await(id: number, withinMs: number, what: string): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(id);
        reject(this.#failure(`did not ${what} within ${withinMs} ms`));
      }, withinMs);
      this.#waiting.set(id, {
        resolve: (value) => {
          clearTimeout(timer);
          resolve(value);
        },
        reject: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      });
    });
  }

  #heard(message: Reply | Ready): void {
    if ('ready' in message) this.#settle(0, (waiting) => waiting.resolve(message.ready));
    else if (message.error === undefined) this.#settle(message.id, (waiting) => waiting.resolve(message.value));
    else this.#settle(message.id, (waiting) => waiting.reject(new Error(`${this.name}: ${message.error}`)));
  }

  #settle(id: number, how: (waiting: Waiting) => void): void {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (waiting !== undefined) how(waiting);
  }

  #over(why: string, resolve: () => void): void {
    this.#ended ??= why;
    for (const id of [...this.#waiting.keys()]) {
      this.#settle(id, (waiting) => waiting.reject(this.#failure(why)));
    }
    resolve();
  }

  #failure(why: string): Error {
    const lines = this.#stderr.split('\n').filter((line) => line.trim() !== '');
    // The line that names the error says more than the stack around it.
    const telling = lines.find((line) => /^\s*\w*Error\b/.test(line)) ?? lines.at(-1);
    return new Error(`${this.name} ${why}${telling === undefined ? '' : `: ${telling.trim()}`}`);
  }
}
