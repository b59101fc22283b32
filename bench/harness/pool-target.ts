import type { NodeTarget, RunningTarget, Target, TargetContext } from './target.ts';

/** A target of our own that gets the first so many of the backends. */
export class PoolTarget implements Target {
  readonly name: string;
  readonly title: string;
  readonly #target: NodeTarget;
  readonly #count: number;

  constructor(target: NodeTarget, count: number) {
    this.name = `${target.name}-${count}`;
    this.title = `${target.title}, ${count} backends`;
    this.#target = target;
    this.#count = count;
  }

  start(context: TargetContext): Promise<RunningTarget> {
    return this.#target.start({ ...context, backends: context.backends.slice(0, this.#count) });
  }
}
