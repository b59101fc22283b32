import cluster from 'node:cluster';
import { stopOnSignals } from 'expressway';
import { readConfig } from './config/config.ts';
import { EnvFile } from './config/env-file.ts';
import { startGateway } from './gateway.ts';
import { LogOutput, ONE_PIECE_LENGTH } from './logging/log-output.ts';
import { createLogger } from './logging/logger.ts';
import { exitOnStartError } from './start-error.ts';
import { keepNewObjectsYoung } from './v8-settings.ts';

/** After `SHUTDOWN_TIMEOUT_MS`, what still runs has this long to report and to exit before it is killed. */
const EXIT_GRACE_MS = 500;

/** What a start gives: the gateway in this process, or the primary of several. */
interface Running {
  reload(why: string): Promise<void>;
  roll?(why: string): Promise<void>;
  close(): Promise<void>;
}

async function run(): Promise<void> {
  const config = readConfig(process.env);
  const isShared = config.workers > 1;
  const lines = new LogOutput(1, undefined, isShared ? ONE_PIECE_LENGTH : undefined);
  const log = createLogger(config.logLevel, (line) => lines.write(line));
  const { EXPRESSWAY_ENV_FILE = '.env', EXPRESSWAY_ENV_PROPER = '' } = process.env;
  const environment = new EnvFile(EXPRESSWAY_ENV_FILE, process.env, EXPRESSWAY_ENV_PROPER.split(','));

  async function start(): Promise<Running> {
    if (!isShared) return startGateway(config, { log, lines, environment });
    // Not loaded by those who have one process.
    const { startPrimary } = await import('./cluster/primary.ts');
    return startPrimary(config, { log, environment });
  }

  const starting = start();
  // Before the start is complete: a supervisor may change its mind at any moment.
  const { shutdownLeadMs: leadMs, shutdownTimeoutMs: timeoutMs } = config;
  stopOnSignals(
    async (signal) => {
      log.info({ signal, leadMs, timeoutMs }, 'stopping');
      const running = await starting;
      await running.close();
      log.info({}, 'stopped');
      await lines.close();
    },
    // Workers are ended at `timeoutMs` and have to be waited for; a start that hangs ends here.
    { timeoutMs: timeoutMs + EXIT_GRACE_MS },
  );
  const whenStarted = (signal: NodeJS.Signals, act: (running: Running) => void): void => {
    // A start that fails is told below.
    process.on(signal, () => void starting.then(act, () => {}));
  };
  whenStarted('SIGHUP', (running) => void running.reload('SIGHUP'));
  whenStarted('SIGUSR2', (running) => {
    if (running.roll === undefined) log.warn({}, 'SIGUSR2 replaces workers, and there are none: see WORKERS');
    else void running.roll('SIGUSR2');
  });
  await starting;
}

keepNewObjectsYoung();
try {
  if (cluster.isWorker) {
    const { runWorker } = await import('./cluster/worker.ts');
    await runWorker();
  } else {
    await run();
  }
} catch (error) {
  exitOnStartError(error);
}
