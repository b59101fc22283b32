import { writeFileSync } from 'node:fs';
import { Session } from 'node:inspector/promises';

const SAMPLE_MICROS = 200;

/**
 * V8's CPU profiler, switched on for the loaded stretch only. `--cpu-prof` is the same profiler, but it also
 * samples start-up and the time before the code is compiled, which is not the cost that we look for.
 */
export class Profiler {
  #session: Session | undefined;

  async start(): Promise<void> {
    this.#session = new Session();
    this.#session.connect();
    await this.#session.post('Profiler.enable');
    await this.#session.post('Profiler.setSamplingInterval', { interval: SAMPLE_MICROS });
    await this.#session.post('Profiler.start');
  }

  async stop(file: string): Promise<void> {
    if (this.#session === undefined) throw new Error('the profiler was not started');
    const { profile } = await this.#session.post('Profiler.stop');
    this.#session.disconnect();
    this.#session = undefined;
    writeFileSync(file, JSON.stringify(profile));
  }
}
