import type { Duplex } from 'node:stream';
import type { Backend, Lease } from '../backends/backend.ts';
import type { BackendPool } from '../backends/backend-pool.ts';
import type { GatewayEvents } from '../core/events.ts';
import type { Exchange } from '../core/exchange.ts';
import { type Failed, type Outcome, type Rejected, type Verdict, verdictOf } from '../core/outcome.ts';
import { sendProblem } from '../core/problem.ts';
import { Attempt, type AttemptOwner, type AttemptTimeouts } from './attempt.ts';
import type { Connections } from './connections.ts';
import { hasContent, type RequestHeadRules, requestHead } from './request-head.ts';
import { isEventStream, type ResponseFields } from './response-head.ts';
import { openTunnel, switchingProtocolsHead } from './tunnel.ts';
import { WEBSOCKET } from './upgrade-handler.ts';
import type { Watchdog } from './watchdog.ts';

/** What all forwardings of one proxy share. */
export interface ForwarderParts {
  readonly pool: BackendPool;
  readonly connections: Connections;
  readonly watchdog: Watchdog;
  readonly timeouts: AttemptTimeouts;
  readonly rules: RequestHeadRules;
  readonly events: GatewayEvents;
  readonly isFailure: ((outcome: Outcome) => boolean) | undefined;
  /** Open tunnels, so that closing the proxy can end them. */
  readonly tunnels: Set<Duplex>;
}

const BODY_ALREADY_READ =
  'ERR_EXPRESSWAY_BODY_ALREADY_READ: the content of this request was read before it reached the proxy. ' +
  'Mount roundRobinProxy() before body parsers such as express.json().';

/** One exchange on its way through the backends: picks one, tries it, and goes on to the next while it may. */
export class Forwarding implements AttemptOwner {
  readonly #parts: ForwarderParts;
  readonly #exchange: Exchange;
  readonly #withContent: boolean;
  #tried: Backend[] = [];
  #backend: Backend | undefined;
  #lease: Lease | undefined;
  #lastFailure: Failed | undefined;
  #startedAt = 0;

  constructor(parts: ForwarderParts, exchange: Exchange) {
    this.#parts = parts;
    this.#exchange = exchange;
    this.#withContent = hasContent(exchange.req);
  }

  start(): void {
    if (this.#withContent && this.#exchange.req.readableDidRead) {
      this.#refuse({ kind: 'rejected', cause: 'content_already_read', detail: BODY_ALREADY_READ });
    } else {
      this.#tryNext();
    }
  }

  // Nothing may be awaited between picking a backend and entering its circuit: that is what keeps two
  // requests from taking the same trial.
  #tryNext(): void {
    const { pool, connections, watchdog, timeouts, rules } = this.#parts;
    const exchange = this.#exchange;
    const backend = pool.select(exchange, this.#tried);
    if (backend === undefined) {
      this.#refuse(this.#lastFailure ?? { kind: 'rejected', cause: 'no_backend', retryAfterMs: pool.retryAfterMs() });
      return;
    }
    const head = requestHead(exchange, backend.url, rules);
    if (head === undefined) {
      this.#refuse({ kind: 'rejected', cause: 'bad_request', detail: 'The request target is none that is forwarded.' });
      return;
    }
    const lease = backend.acquire();
    if (lease === undefined) throw new Error('a backend that was available refused in the same tick');
    this.#backend = backend;
    this.#lease = lease;
    this.#startedAt = Date.now();
    exchange.backend = backend.origin;
    exchange.attempts += 1;
    const upgrade = exchange.upgrade === undefined ? undefined : WEBSOCKET;
    new Attempt(exchange, this, watchdog, timeouts).start(
      connections.to(backend.origin),
      head,
      this.#withContent,
      upgrade,
    );
  }

  answered(status: number, fields: ResponseFields): void {
    const outcome: Outcome = { kind: 'completed', status };
    const isStream = isEventStream(fields);
    if (isStream || this.#lease?.isTrial === true) this.#lease?.settle(this.#verdict(outcome));
    if (isStream) this.#exchange.settle(outcome);
  }

  upgraded(status: number, fields: ResponseFields, backendSocket: Duplex): void {
    const exchange = this.#exchange;
    const outcome: Outcome = { kind: 'completed', status };
    const { socket, head } = exchange.upgrade as NonNullable<Exchange['upgrade']>;
    this.#lease?.settle(this.#verdict(outcome));
    exchange.settle(outcome);
    exchange.res.detachSocket(socket as never);
    const { tunnels } = this.#parts;
    tunnels.add(socket);
    socket.write(switchingProtocolsHead(fields, WEBSOCKET), 'latin1');
    openTunnel(socket, backendSocket, head, () => {
      tunnels.delete(socket);
      this.#lease?.release('neutral');
      this.#announce(outcome);
      // For whoever measures the response: it is over only now.
      exchange.res.emit('close');
    });
  }

  ended(outcome: Outcome): void {
    this.#lease?.release(this.#verdict(outcome));
    switch (outcome.kind) {
      case 'completed':
        this.#announce(outcome);
        break;
      case 'failed':
        this.#failed(outcome);
        break;
      case 'rejected':
        this.#refuse(outcome);
        break;
      default:
        this.#announce(outcome);
    }
  }

  #failed(outcome: Failed): void {
    const { events } = this.#parts;
    const exchange = this.#exchange;
    const retried = !outcome.sent && exchange.outcome === undefined;
    if (events.listenerCount('attemptFailed') > 0) {
      events.emit('attemptFailed', { exchange, backend: this.#origin, outcome, retried });
    }
    if (retried) {
      this.#lastFailure = outcome;
      this.#tried.push(this.#backend as Backend);
      this.#tryNext();
    } else if (outcome.headSent) {
      exchange.settle(outcome);
      this.#announce(outcome);
      cut(exchange);
    } else {
      this.#refuse(outcome);
    }
  }

  /** Answers in the backend's place. */
  #refuse(outcome: Failed | Rejected): void {
    const { events } = this.#parts;
    const exchange = this.#exchange;
    exchange.settle(outcome);
    if (events.listenerCount('rejected') > 0) events.emit('rejected', { exchange, outcome });
    const { retryAfterMs, detail } = outcome.kind === 'rejected' ? outcome : {};
    sendProblem(exchange.res, outcome.cause, { retryAfterMs, detail });
  }

  #announce(outcome: Outcome): void {
    const { events } = this.#parts;
    if (events.listenerCount('forwarded') === 0) return;
    const durationMs = Date.now() - this.#startedAt;
    events.emit('forwarded', { exchange: this.#exchange, backend: this.#origin, outcome, durationMs });
  }

  #verdict(outcome: Outcome): Verdict {
    const { isFailure } = this.#parts;
    if (isFailure === undefined || (outcome.kind !== 'completed' && outcome.kind !== 'failed'))
      return verdictOf(outcome);
    return isFailure(outcome) ? 'failure' : 'success';
  }

  get #origin(): string {
    return this.#backend?.origin ?? '';
  }
}

/** Breaks the client's connection off, so that what it got cannot pass for the whole answer. */
function cut({ req, res }: Exchange): void {
  // An answer to HTTP/1.0 may have no other end than that of the connection: only a reset shows the break.
  if (req.httpVersion === '1.0') req.socket?.resetAndDestroy();
  res.destroy();
}
