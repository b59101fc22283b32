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
import { keepNewObjectsYoung, setForTraffic } from './v8-settings.ts';

/** Milliseconds after `SHUTDOWN_TIMEOUT_MS` until processes that still run are killed. */
const EXIT_GRACE_MS = 500;

/** Milliseconds between two looks at the parent process. */
const PARENT_LOOK_MS = 500;

/** The started gateway: in this process, or as the primary of workers. */
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
  const { EXPRESSWAY_ENV_FILE = '.env', EXPRESSWAY_ENV_PROPER = '' } = process.env;
  const environment = new EnvFile(EXPRESSWAY_ENV_FILE, process.env, EXPRESSWAY_ENV_PROPER.split(','));

  async function start(): Promise<Running> {
    if (!isShared) return startGateway(config, { app, log, lines, environment, state });
    // Loaded only with workers.
    const { startPrimary } = await import('./cluster/primary.ts');
    return startPrimary(config, { log, environment, state });
  }

  const starting = start();
  // Signals count already during the start: a supervisor may stop the gateway at any moment.
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
    // Workers end at `timeoutMs`, and this process has to wait for them. A start that hangs ends here, too.
    { timeoutMs: timeoutMs + EXIT_GRACE_MS },
  );
  const whenStarted = (signal: NodeJS.Signals, act: (running: Running) => void): void => {
    // The end of this function reports a failed start.
    process.on(signal, () => void starting.then(act, () => {}));
  };
  stopWithNpm();
  whenStarted('SIGHUP', (running) => void running.reload('SIGHUP'));
  whenStarted('SIGUSR2', (running) => {
    if (running.roll !== undefined) void running.roll('SIGUSR2');
    // nodemon sends it by default, and then waits for the end of the process.
    else log.warn({}, 'SIGUSR2 replaces workers, and there are none: see WORKERS. With nodemon, use --signal SIGTERM');
  });
  await starting;
  // No request waits for it, so it comes after the start.
  state.misspelt = misspeltVariables(process.env);
  setForTraffic();
}

/**
 * npm passes SIGTERM to the shell in which it runs a command. The shell ends at once, and this process would go on without anybody who knows
 * of it. So its end counts as SIGTERM.
 */
function stopWithNpm(): void {
  if (process.env.npm_lifecycle_event === undefined) return;
  const parent = process.ppid;
  const timer = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(timer);
    process.kill(process.pid, 'SIGTERM');
  }, PARENT_LOOK_MS).unref();
}

/** Options of {@link runGateway}. */
export interface RunGatewayOptions {
  /** Makes the app. Default: the one of `npx expressway start`, with every middleware of the suite, configured by the variables. */
  readonly app?: AppFactory;
}

/**
 * Runs an app as a gateway in this process: listeners with TLS, the admin listener with status page and metrics, logs,
 * graceful stop, reload at SIGHUP, and workers. The variables of the environment configure it. With `WORKERS` above 1 it starts the
 * program again in each worker.
 *
 * Resolves when it serves. An invalid configuration ends the process with exit code 1 and a line for each problem.
 */
export async function runGateway({ app = standardApp }: RunGatewayOptions = {}): Promise<void> {
  keepNewObjectsYoung();
  // On a full disk, and where the reader of a pipe has gone, a line on standard error is lost. It must not end the process.
  process.stderr.on('error', () => {});
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
