import type { Socket } from 'node:net';
import { countedElsewhere } from '../core/connection-bytes.ts';
import type { GatewayEvents } from '../core/gateway-events.ts';
import { rawKeptProblem } from '../core/problem.ts';

/** Milliseconds between two events about early rejections. */
const TELL_MS = 100;

/** Rejects requests before they are parsed, and counts them. */
export class EarlyResponses {
  readonly #retryAfterMs: number;
  readonly #events: GatewayEvents;
  /** The response; made again each second, because it contains the date. */
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
    // A string, because Node's HTTP server writes strings too: V8 has compiled that code when an overload begins.
    socket.write(response, 'latin1');
  }

  /** Emits one event for the rejections since the last event, if enough time has passed or the overload is over. */
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
    // The date changes each second.
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
