import cluster from 'node:cluster';
import { stopOnSignals } from '../index.ts';
import { readConfig } from './config/config.ts';
import { EnvFile } from './config/env-file.ts';
import { misspeltVariables } from './config/misspelt-variables.ts';
import type { AppFactory } from './hosted-app.ts';
import { LogOutput, ONE_PIECE_LENGTH } from './logging/log-output.ts';
import { createLogger, logProcessWarnings } from './logging/logger.ts';
import { GatewayState } from './observing/gateway-state.ts';
import { standardApp } from './standard-app.ts';
import { exitOnStartError } from './start-error.ts';
import { startGateway } from './start-gateway.ts';
import { keepNewObjectsYoung, letYoungGenerationGrow } from './v8-settings.ts';

/** After `SHUTDOWN_TIMEOUT_MS`, what still runs has this long to report and to exit before it is killed. */
const EXIT_GRACE_MS = 500;

/** What a start gives: the gateway in this process, or the primary of several. */
interface Running {
  reload(why: string): Promise<void>;
  roll?(why: string): Promise<void>;
  close(): Promise<void>;
}

async function run(app: AppFactory): Promise<void> {
  const config = readConfig(process.env);
  const isShared = config.workers > 1;
  const lines = new LogOutput(1, undefined, isShared ? ONE_PIECE_LENGTH : undefined);
  const log = createLogger(config.logLevel, (line) => lines.write(line));
  logProcessWarnings(log);
  const state = new GatewayState();
  state.log = lines;
  state.misspelt = misspeltVariables(process.env);
  const { EXPRESSWAY_ENV_FILE = '.env', EXPRESSWAY_ENV_PROPER = '' } = process.env;
  const environment = new EnvFile(EXPRESSWAY_ENV_FILE, process.env, EXPRESSWAY_ENV_PROPER.split(','));

  async function start(): Promise<Running> {
    if (!isShared) return startGateway(config, { app, log, lines, environment, state });
    // Not loaded by those who have one process.
    const { startPrimary } = await import('./cluster/primary.ts');
    return startPrimary(config, { log, environment, state });
  }

  const starting = start();
  // Before the start is complete: a supervisor may change its mind at any moment.
  const { shutdownLeadMs: leadMs, shutdownTimeoutMs: timeoutMs } = config;
  stopOnSignals(
    async (signal) => {
      log.info({ signal, leadMs, timeoutMs }, 'stopping');
      const running = await starting;
      try {
        await running.close();
        log.info({}, 'stopped');
      } finally {
        // The last lines say what went wrong.
        await lines.close();
      }
    },
    // Workers are ended at `timeoutMs` and have to be waited for; a start that hangs ends here.
    { timeoutMs: timeoutMs + EXIT_GRACE_MS },
  );
  const whenStarted = (signal: NodeJS.Signals, act: (running: Running) => void): void => {
    // A start that fails is reported below.
    process.on(signal, () => void starting.then(act, () => {}));
  };
  whenStarted('SIGHUP', (running) => void running.reload('SIGHUP'));
  whenStarted('SIGUSR2', (running) => {
    if (running.roll === undefined) log.warn({}, 'SIGUSR2 replaces workers, and there are none: see WORKERS');
    else void running.roll('SIGUSR2');
  });
  await starting;
  letYoungGenerationGrow();
}

/** Options of {@link runGateway}. */
export interface RunGatewayOptions {
  /** Makes the app. Default: the one of `npx expressway start`, with every middleware of the suite as the variables say. */
  readonly app?: AppFactory;
}

/**
 * Runs an app as a gateway in this process: listeners with TLS, the admin listener with status page and metrics, logs,
 * graceful stop, reload at SIGHUP, and workers, all as the variables of the environment say. With `WORKERS` above 1 it starts the
 * program again in each worker.
 *
 * Resolves when it serves. A configuration that cannot be used ends the process with 1 and a line for each problem.
 */
export async function runGateway({ app = standardApp }: RunGatewayOptions = {}): Promise<void> {
  keepNewObjectsYoung();
  try {
    if (cluster.isWorker) {
      const { runWorker } = await import('./cluster/worker.ts');
      await runWorker(app);
    } else {
      await run(app);
    }
  } catch (error) {
    exitOnStartError(error);
  }
}
