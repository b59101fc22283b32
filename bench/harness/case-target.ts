import type { SizedExchange } from './sized.ts';
import type { RunningTarget, Target, TargetContext } from './target.ts';

/** One kind of request to ask of a target. */
export interface Case {
  readonly name: string;
  readonly exchange: SizedExchange;
  readonly connections: number;
}

/** A target asked for one case; it runs in one process for all of its cases. */
export class CaseTarget implements Target {
  readonly name: string;
  readonly title: string;
  readonly exchange: SizedExchange;
  readonly connections: number;
  readonly #shared: SharedTarget;

  private constructor(shared: SharedTarget, { name, exchange, connections }: Case) {
    this.name = `${shared.target.name}/${name}`;
    this.title = shared.target.title;
    this.exchange = exchange;
    this.connections = connections;
    this.#shared = shared;
  }

  /** Case by case, so that those which are compared are measured one after the other. */
  static product(targets: readonly Target[], cases: readonly Case[]): CaseTarget[] {
    const shared = targets.map((target) => new SharedTarget(target));
    return cases.flatMap((one) => shared.map((target) => new CaseTarget(target, one)));
  }

  missing(): string | undefined {
    return this.#shared.target.missing?.();
  }

  start(context: TargetContext): Promise<RunningTarget> {
    return this.#shared.start(context);
  }
}

/** Starts with the first of its users, and stops with the last; then it may start again. */
class SharedTarget {
  readonly target: Target;
  #running: Promise<RunningTarget> | undefined;
  #users = 0;

  constructor(target: Target) {
    this.target = target;
  }

  async start(context: TargetContext): Promise<RunningTarget> {
    this.#users += 1;
    this.#running ??= this.target.start(context);
    const running = await this.#running;
    const stop = async () => {
      this.#users -= 1;
      if (this.#users > 0) return;
      // The next start is of a new process.
      this.#running = undefined;
      await running.stop();
    };
    return { port: running.port, usage: () => running.usage(), stop };
  }
}
