import { mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import { freePort } from '../failover/free-port.ts';
import { type BinaryName, binaryVersion } from './binary-version.ts';
import { SystemServer, type SystemServerSpec } from './system-server.ts';
import type { RunningTarget, Target, TargetContext } from './target.ts';

/** What a program is given to work in. */
export interface SystemGround {
  /** An empty folder of its own: nothing of the machine's installation is read or written. */
  readonly folder: string;
  readonly port: number;
  readonly backends: readonly string[];
}

/** How to run it there; it writes its configuration into the folder first. */
export type SystemSetUp = (ground: SystemGround) => Pick<SystemServerSpec, 'command' | 'env'>;

/** A proxy that is a program of the system; left out, and named, where the machine does not have it. */
export class SystemTarget implements Target {
  readonly name: string;
  readonly title: string;
  readonly #program: BinaryName;
  readonly #setUp: SystemSetUp;

  constructor(program: BinaryName, title: string, setUp: SystemSetUp, name: string = program) {
    this.name = name;
    this.title = title;
    this.#program = program;
    this.#setUp = setUp;
  }

  missing(): string | undefined {
    return binaryVersion(this.#program) === undefined ? `no ${this.#program} on the path` : undefined;
  }

  async start({ processes, placement, backends, folder }: TargetContext): Promise<RunningTarget> {
    const port = await freePort();
    const own = mkdtempSync(join(folder, `${this.name}-`));
    const how = this.#setUp({ folder: own, port, backends });
    const server = await SystemServer.start({ ...how, name: this.name, port, cpus: placement.gateway }, processes);
    return { port, usage: async () => server.usage(), stop: () => server.stop() };
  }
}
