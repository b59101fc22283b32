import { RunningNodeTarget, type RunningTarget, type Target, type TargetContext } from './target.ts';

/** `targets/pool.ts`: the proxy with one policy and the first so many of the backends. */
export class PoolTarget implements Target {
  readonly name: string;
  readonly title: string;
  readonly #policy: string;
  readonly #count: number;

  constructor(policy: string, count: number) {
    this.name = `${policy}-${count}`;
    this.title = `roundRobinProxy alone, ${policy}, ${count} backends`;
    this.#policy = policy;
    this.#count = count;
  }

  async start({ processes, placement, backends }: TargetContext): Promise<RunningTarget> {
    const script = new URL('../targets/pool.ts', import.meta.url);
    const args = [this.#policy, ...backends.slice(0, this.#count)];
    const child = processes.start({ name: this.name, script, args, cpus: placement.gateway });
    try {
      return new RunningNodeTarget(child, (await child.ready<{ port: number }>()).port);
    } catch (error) {
      child.kill();
      throw error;
    }
  }
}
