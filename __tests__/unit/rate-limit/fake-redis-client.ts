import { EventEmitter } from 'node:events';
import type { NodeRedisClient } from '../../../lib/rate-limit/redis/redis-client.ts';

type Mood = 'well' | 'silent' | Error;

const GATEWAYS = '{gateways}';

/** As much of Redis and its client as a fixed window needs, in a mood that the test decides. */
export class FakeRedisClient extends EventEmitter implements NodeRedisClient {
  isOpen = true;
  isReady = true;
  mood: Mood = 'well';
  readonly sent: string[][] = [];
  readonly hits = new Map<string, number>();
  connects = 0;
  /** What heartbeats are told. */
  gateways = 1;
  /** Whether heartbeats are told that they are new. */
  forgetsGateways = false;
  #unanswered: { answer: () => void; reject: (error: Error) => void }[] = [];

  connect(): Promise<unknown> {
    this.connects++;
    this.isOpen = true;
    return new Promise(() => {});
  }

  destroy(): void {
    this.isOpen = this.isReady = false;
  }

  sendCommand(args: readonly string[]): Promise<unknown> {
    this.sent.push([...args]);
    if (this.mood instanceof Error) return Promise.reject(this.mood);
    if (this.mood === 'well') return Promise.resolve(this.#run(args));
    return new Promise((resolve, reject) => {
      this.#unanswered.push({ answer: () => resolve(this.#run(args)), reject });
    });
  }

  /** Number of hits that were asked for, answered or not. */
  get increments(): number {
    return this.sent.filter(([command, , , key]) => command === 'EVALSHA' && !key?.endsWith(GATEWAYS)).length;
  }

  get beats(): number {
    return this.sent.filter(([command, , , key]) => command === 'EVALSHA' && key?.endsWith(GATEWAYS)).length;
  }

  /** What SIGCONT does after SIGSTOP. */
  answerLate(): void {
    this.mood = 'well';
    for (const { answer } of this.#unanswered.splice(0)) answer();
  }

  /** What a broken connection does to the commands under way. */
  fail(error: Error): void {
    for (const { reject } of this.#unanswered.splice(0)) reject(error);
  }

  lose(error = new Error('Socket closed unexpectedly')): void {
    this.isReady = false;
    this.emit('error', error);
  }

  regain(): void {
    this.mood = 'well';
    this.isReady = true;
    this.emit('ready');
  }

  #run([command, ...rest]: readonly string[]): unknown {
    if (command === 'SCRIPT') return 'sha';
    const key = rest[2] ?? (rest[0] as string);
    if (key.endsWith(GATEWAYS)) return [this.forgetsGateways ? 1 : 0, this.gateways];
    if (command === 'DEL') return this.hits.delete(key) ? 1 : 0;
    if (rest.length === 5) {
      // What was counted while it was away: units, and milliseconds that they last.
      this.hits.set(key, (this.hits.get(key) ?? 0) + Number(rest[3]));
      return 'OK';
    }
    const hits = (this.hits.get(key) ?? 0) + 1;
    this.hits.set(key, hits);
    return [hits, 60_000];
  }
}
