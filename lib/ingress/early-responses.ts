import type { Socket } from 'node:net';
import { countedElsewhere } from '../core/connection-bytes.ts';
import type { GatewayEvents } from '../core/events.ts';
import { rawKeptProblem } from '../core/problem.ts';

/** How often early rejections are reported. */
const TELL_MS = 100;

/** Rejects requests that no parser has seen, and counts them. */
export class EarlyResponses {
  readonly #retryAfterMs: number;
  readonly #events: GatewayEvents;
  /** Of this second. */
  #whole: string | undefined;
  #head: string | undefined;
  #madeAt = 0;
  #requests = new Map<string, number>();
  #bytesIn = 0;
  #bytesOut = 0;
  #toldAt = 0;

  constructor(retryAfterMs: number, events: GatewayEvents) {
    this.#retryAfterMs = retryAfterMs;
    this.#events = events;
  }

  reject(method: string, bytesIn: number, socket: Socket): void {
    this.#requests.set(method, (this.#requests.get(method) ?? 0) + 1);
    const response = this.#response(method, socket);
    this.#bytesIn += bytesIn;
    this.#bytesOut += response.length;
    countedElsewhere(socket, bytesIn, response.length);
    // As a string, as Node's HTTP server writes: for that the code is compiled when an overload begins.
    socket.write(response, 'latin1');
  }

  /** Tells of those since the last time, if that is long enough ago, or no more come. */
  tell(now: number, goesOn: boolean): void {
    if (this.#requests.size === 0 || (goesOn && Math.abs(now - this.#toldAt) < TELL_MS)) return;
    const [requests, bytesIn, bytesOut] = [this.#requests, this.#bytesIn, this.#bytesOut];
    this.#requests = new Map();
    this.#bytesIn = 0;
    this.#bytesOut = 0;
    this.#toldAt = now;
    this.#events.emit('rejectedEarly', { cause: 'load_shed', requests, bytesIn, bytesOut });
  }

  #response(method: string, socket: Socket): string {
    // A new date each second.
    const second = Math.floor(Date.now() / 1_000);
    if (second !== this.#madeAt || this.#whole === undefined || this.#head === undefined) {
      const { keepAliveTimeout = 0 } = (socket as { server?: { keepAliveTimeout?: number } }).server ?? {};
      const { whole, head } = rawKeptProblem('load_shed', this.#retryAfterMs, keepAliveTimeout);
      this.#whole = whole;
      this.#head = head;
      this.#madeAt = second;
    }
    return method === 'HEAD' ? this.#head : this.#whole;
  }
}
