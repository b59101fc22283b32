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

  async start({ processes, placement, backends }: TargetContext): Promise<RunningTarget> {
    const script = new URL(`../targets/${this.#script}.ts`, import.meta.url);
    const args = [...this.#args, ...backends.slice(0, this.#count)];
    const child = processes.start({ name: this.name, script, args, cpus: placement.gateway });
    try {
      return new RunningNodeTarget(child, (await child.ready<{ port: number }>()).port);
    } catch (error) {
      child.kill();
      throw error;
    }
  }
}
