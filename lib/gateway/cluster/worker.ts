import { flushCompileCache } from 'node:module';
import type { CounterAnswer } from '../../index.ts';
import { type Config, readConfig } from '../config/config.ts';
import type { Gateway } from '../gateway.ts';
import type { AppFactory } from '../hosted-app.ts';
import { LogOutput, ONE_PIECE_LENGTH } from '../logging/log-output.ts';
import { createLogger, logProcessWarnings } from '../logging/logger.ts';
import { problemsOf } from '../start-error.ts';
import { startGateway } from '../start-gateway.ts';
import { setForTraffic } from '../v8-settings.ts';
import { removeOrphanedCache } from './compile-cache.ts';
import type { Beginning, Hello } from './messages.ts';
import { type Channel, Peer } from './peer.ts';
import { answerPrimary, finalReport } from './worker-answers.ts';

/** Milliseconds. A primary that does not reply in this time belongs to another app that uses `node:cluster`. */
const HELLO_TIMEOUT_MS = 60_000;
/** Milliseconds after which questions without a reply are dropped. The limiter itself waits less. */
const COUNT_TIMEOUT_MS = 10_000;
const BEAT_EVERY_MS = 1_000;

/** Signals that a terminal or supervisor sends to all processes. Workers ignore them: the primary decides. */
const SIGNALS: readonly NodeJS.Signals[] = ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGUSR2'];

/** Runs the gateway in this process as a worker. It ends when the primary says so, or when the primary has ended. */
export async function runWorker(app: AppFactory): Promise<void> {
  for (const signal of SIGNALS) process.on(signal, () => {});
  const primaryPid = process.ppid;
  const isOrphan = (): boolean => !process.connected || process.ppid !== primaryPid;
  removeOrphanedCache(isOrphan);
  const primary = new Peer(process as Channel);
  setInterval(() => void primary.send('beat'), BEAT_EVERY_MS).unref();
  const stopped = new Promise<'stopped'>((resolve) => primary.on('stop', () => resolve('stopped')));
  const lines = new LogOutput(1, undefined, ONE_PIECE_LENGTH);
  const started = start(app, primary, lines).catch((error) => {
    // A question to a primary that was killed. Node ends this process, too.
    if (isOrphan()) return undefined;
    throw error;
  });
  const gateway = await Promise.race([started, stopped]);
  if (gateway === undefined) process.exit(1);
  if (gateway === 'stopped') {
    // It has no client yet, and what it waits for (DNS, Redis) may take too long.
    await lines.close();
    process.exit(0);
  }
  answerPrimary(primary, gateway);
  setForTraffic();
  await primary.send('ready', { url: gateway.url });
  await stopped;
  let code = 0;
  try {
    await gateway.close();
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
    code = 1;
  }
  await primary.send('finalReport', await finalReport(gateway));
  await lines.close();
  process.exit(code);
}

/** @returns `undefined` when it failed; the primary has got the reason. */
async function start(app: AppFactory, primary: Peer, lines: LogOutput): Promise<Gateway | undefined> {
  try {
    const { isSpare, usesRedis } = await primary.ask<Hello>('hello', undefined, HELLO_TIMEOUT_MS);
    // It takes about 0.1 s of CPU time, which the spare process has. If the package is missing, the start reports it.
    if (isSpare && usesRedis) await import('redis').catch(() => {});
    // Node would write the cache at the end of the process, which has a deadline. There is something to write only for the first process with new code.
    flushCompileCache();
    // A spare process waits here until a worker dies.
    const beginning = await primary.ask<Beginning>('begin', undefined, Number.POSITIVE_INFINITY);
    const { place, workers, operatorStates } = beginning;
    const config = workerConfig(beginning);
    const log = createLogger(config.logLevel, (line) => lines.write(line), { worker: place });
    logProcessWarnings(log);
    const counter = {
      processes: workers,
      ask: (question: object) => primary.ask<CounterAnswer>('count', question, COUNT_TIMEOUT_MS),
    };
    return await startGateway(config, { app, log, lines, worker: { counter, operatorStates } });
  } catch (error) {
    const problems = problemsOf(error);
    if (problems === undefined) throw error;
    await primary.send('failed', { problems });
    return undefined;
  }
}

/** The configuration of one worker. The primary handles signals, lead time and files. */
function workerConfig({ variables, backends, declaration, workers }: Beginning): Config {
  const config = readConfig(variables);
  const { bounds, shutdownLeadMs, shutdownTimeoutMs } = config;
  // Rounded up, so together they may exceed the bound by one for each worker. 0 stays no bound.
  const part = (all: number): number => Math.ceil(all / workers);
  return {
    ...config,
    backends,
    declaration,
    backendsFile: undefined,
    gatewayFile: undefined,
    bounds: {
      ...bounds,
      maxConnections: part(bounds.maxConnections),
      maxConnectionsPerAddress: part(bounds.maxConnectionsPerAddress),
    },
    shutdownLeadMs: 0,
    shutdownTimeoutMs: shutdownTimeoutMs - shutdownLeadMs,
  };
}
