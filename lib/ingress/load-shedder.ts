import type { Server, Socket } from 'node:net';
// The global `performance` is a getter, which costs as much as reading the clock.
import { performance } from 'node:perf_hooks';
import type { Exchange, ExchangeObserver } from '../core/exchange.ts';
import type { GatewayEvents } from '../core/gateway-events.ts';
import type { Rejected } from '../core/outcome.ts';
import { endApart, reject } from '../core/reject.ts';
import { afterTurn } from './after-turn.ts';
import { type EarlyDecision, type EarlyGate, wasAdmitted } from './early-gate.ts';
import { EarlyResponses } from './early-responses.ts';
import type { LoadSheddingSettings, LoadSheddingStatus, PriorityRequest } from './load-shedding-options.ts';
import { LoopSampler } from './loop-sampler.ts';
import { type PlainRequest, plainRequest, simpleHeaders } from './plain-request.ts';
import { type Priority, SheddingGate } from './shedding-gate.ts';

/** Milliseconds between two samples of the event loop while requests come. */
const SAMPLE_MS = 10;
/** Requests after which the present turn is looked at. */
const LOOK_EVERY = 16;
/** Samples without a request after which sampling stops, unless requests are still being rejected. */
const IDLE_SAMPLES = 10;
/** The part of `maxInProgress` that requests of each priority may use. */
const PLACES: Readonly<Record<Priority, number>> = Object.freeze({ high: 1, normal: 0.9, low: 0.8 });

const kRejectedIn = Symbol('expressway.rejectedIn');

/** A connection, with the number of the turn of the event loop in which its last request was rejected. */
type Rejecting = Socket & { [kRejectedIn]?: number };

/** Gives the priority of a request. */
type AskPriority = (req: PriorityRequest) => Priority;

/** Decides about the requests of a process: in the middleware, or before Node's parser, by their bytes. */
export class LoadShedder implements ExchangeObserver, EarlyGate {
  readonly #options: LoadSheddingSettings;
  readonly #events: GatewayEvents;
  readonly #priorityOf: AskPriority;
  readonly #gate: SheddingGate;
  readonly #outcome: Rejected;
  readonly #sampler = new LoopSampler();
  readonly #early: EarlyResponses;
  #inProgress = 0;
  #rejected = 0;
  #delayMs = 0;
  #wasShedding = false;
  #timer: NodeJS.Timeout | undefined;
  #dueAt = 0;
  /** Samples since the last request. */
  #idle = 0;
  /** Requests since the last look at the turn. */
  #unseen = 0;
  /** Whether a request has come in this turn of the event loop. */
  #isInTurn = false;
  /** Number of turns of overloads so far. */
  #turn = 0;
  readonly #endTurn = (): void => {
    this.#isInTurn = false;
    this.#gate.turnEnded(performance.now());
  };

  constructor(options: LoadSheddingSettings, events: GatewayEvents, priorityOf: AskPriority) {
    this.#options = options;
    this.#events = events;
    this.#priorityOf = priorityOf;
    this.#gate = new SheddingGate(options);
    this.#outcome = Object.freeze({ kind: 'rejected', cause: 'load_shed', retryAfterMs: options.retryAfterMs });
    this.#early = new EarlyResponses(options.retryAfterMs, events);
  }

  get isShedding(): boolean {
    return this.#gate.isShedding;
  }

  /**
   * Whether a request goes on. If not, this rejects it.
   *
   * @throws what `priority` throws, or its wrong result.
   */
  enters(exchange: Exchange): boolean {
    this.#idle = 0;
    if (this.#timer === undefined && this.#options.maxDelayMs > 0) this.#begin(exchange);
    if (wasAdmitted(exchange.req, this) || this.#admits(this.#priorityOf(exchange.req))) {
      this.#inProgress += 1;
      exchange.observe(this);
      return true;
    }
    this.#rejected += 1;
    const { socket } = exchange.req;
    if (socket && this.#mustWait(socket)) afterTurn(socket, () => this.#rejectLate(exchange));
    else reject(exchange, this.#outcome, this.#events);
    return false;
  }

  settled(): void {
    this.#inProgress -= 1;
  }

  decide(bytes: Buffer, socket: Socket): EarlyDecision {
    const request = plainRequest(bytes);
    if (request === undefined) return 'undecided';
    const priority = this.#earlyPriority(request);
    if (priority === undefined) return 'undecided';
    if (this.#admits(priority)) return 'admitted';
    this.#idle = 0;
    this.#rejected += 1;
    const { method } = request;
    const { length } = bytes;
    if (this.#mustWait(socket)) return () => this.#early.reject(method, length, socket);
    this.#early.reject(method, length, socket);
    return 'rejected';
  }

  status(): LoadSheddingStatus {
    return {
      isShedding: this.#gate.isShedding,
      share: this.#gate.share,
      delayMs: this.#delayMs,
      inProgress: this.#inProgress,
      rejected: this.#rejected,
    };
  }

  /** `undefined` for a request that the middleware has to decide about. */
  #earlyPriority(request: PlainRequest): Priority | undefined {
    if (this.#options.priority === undefined) return 'normal';
    const headers = simpleHeaders(request);
    if (headers === undefined) return undefined;
    try {
      return this.#priorityOf({ method: request.method, url: request.target, headers });
    } catch {
      // The middleware asks again, and passes the error to the app.
      return undefined;
    }
  }

  #admits(priority: Priority): boolean {
    let now = 0;
    this.#unseen += 1;
    if (this.#unseen >= LOOK_EVERY) this.#look();
    if (this.#gate.isShedding) {
      now = performance.now();
      if (!this.#isInTurn) this.#beginTurn(now);
    }
    return this.#gate.admits(priority, now) && this.#hasPlace(priority);
  }

  #look(): void {
    this.#unseen = 0;
    if (this.#timer === undefined) return;
    const now = Date.now();
    if (!this.#gate.look(now - this.#dueAt, now, this.#sampler.cpuMs)) return;
    // This turn has read more requests than it may.
    this.#beginTurn(performance.now() - this.#options.maxDelayMs);
  }

  #beginTurn(from: number): void {
    this.#isInTurn = true;
    this.#turn += 1;
    this.#gate.turnBegan(from);
    // Runs after all sockets that are readable now have been read.
    setImmediate(this.#endTurn);
  }

  /**
   * Whether the response to a rejected request waits until this turn ends. Otherwise the turn would not end while clients repeat rejected
   * requests at once: libuv reads up to 48 × 1,024 sockets in a turn.
   */
  #mustWait(socket: Rejecting): boolean {
    if (!this.#gate.isShedding) return false;
    const isRepeated = socket[kRejectedIn] === this.#turn;
    socket[kRejectedIn] = this.#turn;
    return isRepeated && this.#gate.isLongTurn(performance.now());
  }

  #rejectLate(exchange: Exchange): void {
    // The client may have left, or the app may have responded.
    if (exchange.outcome !== undefined || exchange.res.headersSent) return;
    const occasion = 'a request that loadShedding() rejected';
    endApart(exchange, occasion, () => reject(exchange, this.#outcome, this.#events));
  }

  #hasPlace(priority: Priority): boolean {
    const { maxInProgress, priority: isGiven } = this.#options;
    if (maxInProgress === 0) return true;
    const places = isGiven === undefined ? maxInProgress : Math.max(1, Math.floor(maxInProgress * PLACES[priority]));
    return this.#inProgress < places;
  }

  #begin({ req }: Exchange): void {
    // net.Server stores itself on each connection that it accepts.
    this.#sampler.watch((req.socket as { server?: Server } | undefined)?.server);
    // The next sample begins now.
    this.#sampler.take(0, Date.now());
    this.#sampleSoon();
  }

  #sampleSoon(): void {
    this.#dueAt = Date.now() + SAMPLE_MS;
    this.#timer = setTimeout(() => this.#sample(), SAMPLE_MS).unref();
  }

  #sample(): void {
    const now = Date.now();
    this.#delayMs = Math.max(0, now - this.#dueAt);
    this.#gate.sample(this.#sampler.take(this.#delayMs, now));
    const { isShedding } = this.#gate;
    if (isShedding !== this.#wasShedding) {
      this.#wasShedding = isShedding;
      this.#events.emit('loadSheddingChange', { isShedding, delayMs: this.#delayMs });
    }
    this.#early.tell(now, isShedding);
    this.#idle += 1;
    this.#timer = undefined;
    if (this.#idle <= IDLE_SAMPLES || isShedding) this.#sampleSoon();
  }
}
