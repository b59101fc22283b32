import { RunningNodeTarget, type RunningTarget, type Target, type TargetContext } from './target.ts';

/** A target of our own that gets the first so many of the backends. */
export class PoolTarget implements Target {
  readonly name: string;
  readonly title: string;
  readonly #count: number;
  readonly #script: string;
  readonly #args: readonly string[];

  /** @param policy For `targets/pool.ts`; without it the target is the floor. */
  constructor(count: number, policy?: string) {
    this.name = `${policy ?? 'floor'}-${count}`;
    this.title = `${policy === undefined ? 'bare node:http + undici' : `roundRobinProxy alone, ${policy}`}, ${count} backends`;
    this.#count = count;
    this.#script = policy === undefined ? 'floor' : 'pool';
    this.#args = policy === undefined ? [] : [policy];
  }

  start(context: TargetContext): Promise<RunningTarget> {
    const args = [...this.#args, ...context.backends.slice(0, this.#count)];
    return RunningNodeTarget.start(context, { name: this.name, script: this.#script, args });
  }
}
