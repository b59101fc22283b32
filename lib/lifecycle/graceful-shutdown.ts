import type { Server } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { GatewayError } from '../core/errors.ts';
import { OptionsError, resolveOptions } from '../core/options.ts';
import { named } from '../core/thrown-by.ts';
import { warnOfThrow } from '../core/warnings.ts';
import { assertHttpServer } from '../ingress/http-server.ts';
import { ConnectionDrain } from './connection-drain.ts';
import {
  flushMs,
  type GracefulShutdownOptions,
  type GracefulShutdownSettings,
  gracefulShutdownChecks,
  gracefulShutdownDefaults,
  leavesTime,
  reservedMs,
  type ShutdownPhase,
} from './graceful-shutdown-options.ts';
import type { OpenAtDeadline } from './open-at-deadline.ts';
import { type StopSignals, stopOnSignals } from './stop-signals.ts';

/** The shutdown of a server: its phase, and a function that starts it. */
export interface GracefulShutdown {
  readonly phase: ShutdownPhase;
  /**
   * Starts the shutdown; further calls return the same promise. Resolves with the connections that were cut at the deadline. Rejects at the end
   * with the error of `close` or `onPhase`, or if `close` did not finish in time. Never ends the process.
   */
  close(): Promise<OpenAtDeadline>;
}

/**
 * Shuts down a `node:http` or `node:https` server without losing a request, at a signal or by `close()`:
 *
 * 1. `leaving`, for `leadTimeMs`: a readiness check should return 503 from here on. The server still serves everything.
 * 2. `draining`: no new connections. Responses have `Connection: close`; connections without a request have `idleGraceMs` for
 *    one. Requests that are running, or arriving, are completed.
 * 3. Just before `timeoutMs`: remaining requests are cut. Event streams and upgraded connections get an orderly end.
 * 4. `closing`: `close` is called. Then `closed`, and after a signal the process exits with 0. `stopOnSignals()` describes the exit codes, and
 *    the effect of a second signal.
 *
 * ```ts
 * const server = app.listen(8080);
 * const shutdown = gracefulShutdown(server, { close: () => Promise.all([limiter.close(), proxy.close()]) });
 * app.get('/readyz', (_req, res) => res.sendStatus(shutdown.phase === 'serving' ? 200 : 503)); // before the proxy
 * ```
 *
 * Call it before the first connection: before `listen()`, or right after it. After `server.close()` by the app itself, signals have their default
 * effect again, until the server listens again. For several servers in one process, use `signals: []` for each,
 * and one `stopOnSignals()` that calls `close()` of all.
 *
 * @throws {OptionsError} that names each unknown key and each bad value, and for a value that is no server of `node:http` or `node:https`.
 */
export function gracefulShutdown(server: Server, given?: GracefulShutdownOptions): GracefulShutdown {
  assertHttpServer('gracefulShutdown', server);
  const options = resolveOptions('gracefulShutdown', given, gracefulShutdownDefaults, gracefulShutdownChecks);
  const { leadTimeMs, timeoutMs } = options;
  if (!leavesTime(leadTimeMs, timeoutMs)) {
    throw new OptionsError('gracefulShutdown', [
      `leadTimeMs must leave some of timeoutMs for the requests, got ${leadTimeMs} of ${timeoutMs}`,
    ]);
  }
  return new Shutdown(server, options);
}

class Shutdown implements GracefulShutdown {
  readonly #server: Server;
  readonly #options: GracefulShutdownSettings;
  readonly #drain: ConnectionDrain;
  #signals: StopSignals | undefined;
  readonly #errors: unknown[] = [];
  #phase: ShutdownPhase = 'serving';
  #closing: Promise<OpenAtDeadline> | undefined;
  #isOver = false;

  constructor(server: Server, options: GracefulShutdownSettings) {
    this.#server = server;
    this.#options = options;
    this.#drain = new ConnectionDrain(server);
    if (options.signals.length > 0) this.#listenForSignals();
  }

  get phase(): ShutdownPhase {
    return this.#phase;
  }

  close(): Promise<OpenAtDeadline> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** While the server is open. Otherwise each server that a test closes by `server.close()` would leave its listeners, and the app behind them. */
  #listenForSignals(): void {
    const { signals } = this.#options;
    const begin = (): void => {
      if (this.#closing === undefined) this.#signals ??= stopOnSignals(() => this.close(), { signals });
    };
    begin();
    this.#server.on('listening', begin);
    this.#server.on('close', () => {
      if (this.#closing !== undefined) return;
      this.#signals?.close();
      this.#signals = undefined;
    });
  }

  async #close(): Promise<OpenAtDeadline> {
    const { leadTimeMs, idleGraceMs, timeoutMs } = this.#options;
    // The monotonic clock, because the wall clock may be set during the shutdown.
    const endsAt = performance.now() + timeoutMs;
    // If the server does not listen, no health check can see the phase.
    if (leadTimeMs > 0 && this.#server.listening) {
      this.#enter('leaving');
      await delay(leadTimeMs, undefined, { ref: false });
    }
    this.#enter('draining');
    const left = await this.#drain.run({
      idleGraceMs,
      timeoutMs: Math.max(0, Math.round(endsAt - reservedMs(timeoutMs) - performance.now())),
      flushMs: flushMs(timeoutMs),
    });
    this.#enter('closing');
    await this.#release(Math.ceil(endsAt - performance.now()));
    this.#enter('closed');
    // A promise of the last phase may have been rejected; its handler runs a moment later.
    await new Promise((resolve) => setImmediate(resolve));
    this.#isOver = true;
    this.#signals?.close();
    if (this.#errors.length === 1) throw this.#errors[0];
    if (this.#errors.length > 1) throw new AggregateError(this.#errors, 'The server did not shut down cleanly');
    return left;
  }

  /** An error of the listener must not stop the shutdown. */
  #enter(phase: ShutdownPhase): void {
    this.#phase = phase;
    const { onPhase } = this.#options;
    if (onPhase === undefined) return;
    try {
      const given: unknown = named('onPhase()', onPhase)(phase);
      if (given !== undefined) Promise.resolve(given).catch((error: unknown) => this.#phaseFailed(error));
    } catch (error) {
      this.#errors.push(error);
    }
  }

  #phaseFailed(error: unknown): void {
    const { onPhase } = this.#options;
    if (!this.#isOver) this.#errors.push(error);
    else warnOfThrow(onPhase as object, 'WARN_EXPRESSWAY_LISTENER', 'A promise of onPhase rejected', error);
  }

  async #release(ms: number): Promise<void> {
    const { close, timeoutMs } = this.#options;
    if (close === undefined) return;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      const error = new GatewayError(
        'ERR_EXPRESSWAY_CLOSE_TIMEOUT',
        `gracefulShutdown: close() did not finish within timeoutMs, ${timeoutMs} ms`,
      );
      // Not unref'ed. Otherwise a process that waits for nothing else would exit here with 0.
      timer = setTimeout(() => reject(error), Math.max(1, ms));
    });
    try {
      await Promise.race([named('close()', close)(), late]);
    } catch (error) {
      this.#errors.push(error);
    } finally {
      clearTimeout(timer);
    }
  }
}
