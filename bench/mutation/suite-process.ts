import { type ChildProcess, fork } from 'node:child_process';
import { join } from 'node:path';
import type { Order, Report } from '../../__tests__/mutation/worker.ts';

/** A process that has loaded one suite, and runs its tests as often as it is asked to. */
export class SuiteProcess {
  static readonly #children = new Set<ChildProcess>();
  readonly #child: ChildProcess;

  /** @param mutant The one that is active while the suite and the code are loaded. */
  constructor(folder: string, suite: string, mutant = '') {
    this.#child = fork(join(folder, '__tests__/mutation/worker.ts'), [join(folder, suite)], {
      cwd: folder,
      execArgv: ['--conditions=expressway-source', '--disable-warning=ExperimentalWarning'],
      env: { ...process.env, NODE_COMPILE_CACHE: join(folder, '.compiled'), __STRYKER_ACTIVE_MUTANT__: mutant },
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    });
    SuiteProcess.#children.add(this.#child);
    this.#child.once('exit', () => SuiteProcess.#children.delete(this.#child));
  }

  static killAll(): void {
    for (const child of SuiteProcess.#children) child.kill('SIGKILL');
  }

  get isAlive(): boolean {
    return this.#child.connected && !this.#child.killed;
  }

  /** Resolves with `undefined` when the process ends, or is silent for so long: then it is ended. */
  async obey(order: Order, silenceMs: number): Promise<Report | undefined> {
    const { promise, resolve } = Promise.withResolvers<Report | undefined>();
    const ended = () => resolve(undefined);
    const timer = setTimeout(ended, silenceMs);
    const hear = (message: Report | 'alive') => (message === 'alive' ? timer.refresh() : resolve(message));
    this.#child.on('message', hear).once('exit', ended);
    this.#child.send(order, () => {});
    const report = await promise;
    clearTimeout(timer);
    this.#child.off('message', hear).off('exit', ended);
    if (report === undefined || report.isHung) this.kill();
    return report;
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }
}
