import type { ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Backend } from '../../backends/backend.ts';
import { countedClient } from '../../core/address-key.ts';
import type { Exchange, UpgradeSocket } from '../../core/exchange.ts';
import { type Checks, durationMs, integer, optionalDurationMs } from '../../core/options.ts';
import type { RejectionCause } from '../../core/outcome.ts';
import { InFlightCaps } from '../in-flight-caps.ts';
import { isHopByHop } from '../request/hop-by-hop.ts';
import { rawHeaderNames } from '../response/exact-head.ts';
import type { HeaderSpelling } from '../response/header-spelling.ts';
import { applyResponseHead, type ResponseFields } from '../response/response-head.ts';
import { failureCause, ProtocolError } from '../transport/failure.ts';
import type { Watchdog } from '../watchdog.ts';
import { Tunnel } from './tunnel.ts';

/** Milliseconds in which a backend may read the last bytes of a client that has left, when the proxy closes. */
const LAST_BYTES_MS = 100;

/** The response with which a backend switched protocols. */
export interface Switched {
  readonly backend: Backend;
  /** The backend's connection. */
  readonly socket: Duplex;
  readonly fields: ResponseFields;
  /** Spelling of the header names; `undefined` for lower case. */
  readonly spelling: HeaderSpelling | undefined;
}

/** The upgraded connections of one proxy, and their limits. */
export class Tunnels {
  readonly #options: Required<TunnelOptions>;
  readonly #caps: InFlightCaps;
  readonly #watchdog: Watchdog;
  readonly #admitted = new Map<Exchange, string | undefined>();
  readonly #open = new Map<Tunnel, Backend>();
  readonly #waiting: (() => void)[] = [];
  #isClosed = false;

  constructor(options: Required<TunnelOptions>, watchdog: Watchdog) {
    this.#options = options;
    this.#caps = new InFlightCaps({ maxInFlight: options.max, maxInFlightPerClient: options.maxPerClient });
    this.#watchdog = watchdog;
  }

  /** Admits one upgrade request until `leave()`, or returns the cause of its rejection. */
  enter(exchange: Exchange): RejectionCause | undefined {
    const client = countedClient(exchange);
    const problem = this.#caps.enter(client);
    if (problem === undefined) this.#admitted.set(exchange, client);
    return problem;
  }

  /** Ends what `enter()` began. A request that was not admitted is ignored. */
  leave(exchange: Exchange): void {
    const client = this.#admitted.get(exchange);
    if (this.#admitted.delete(exchange)) this.#caps.leave(client);
  }

  /**
   * Sends the 101 response to the client and opens the tunnel.
   *
   * @param closed Called once, when the tunnel is closed.
   * @returns an error if the backend's head is invalid. Then its connection is closed, and the client got nothing.
   * @throws what a function of the app threw, such as a wrapped `setHeader()`. The backend's connection is closed then as well.
   */
  open(exchange: Exchange, switched: Switched, closed: () => void): Error | undefined {
    const { backend, socket } = switched;
    const upgrade = exchange.upgrade as UpgradeSocket;
    let head: string;
    try {
      head = takeOver(exchange.res, upgrade, switched);
    } catch (error) {
      socket.on('error', () => {}).destroy();
      if (failureCause(error as Error, false) === 'http_protocol_error') return error as Error;
      throw error;
    }
    const tunnel = new Tunnel(upgrade.socket, socket, this.#options, this.#watchdog, () => {
      this.#open.delete(tunnel);
      closed();
      if (this.#open.size === 0) for (const resolve of this.#waiting.splice(0)) resolve();
    });
    this.#open.set(tunnel, backend);
    tunnel.open(head, upgrade.head);
    if (this.#isClosed) tunnel.close();
    return undefined;
  }

  /** Closes the tunnels to one backend. */
  cut(backend: Backend): void {
    for (const [tunnel, end] of this.#open) if (end === backend) tunnel.close();
  }

  /** Closes all tunnels, also later ones. Resolves when none is left, after `closeTimeoutMs` at most, or sooner if the clients have left. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const tunnel of this.#open.keys()) tunnel.close();
    if (this.#open.size === 0) return;
    // At the deadline of a shutdown all clients are gone, and a backend that does not read must not hold the process up.
    const last = setTimeout(() => {
      for (const tunnel of this.#open.keys()) tunnel.cutWithoutClient();
    }, LAST_BYTES_MS).unref();
    await new Promise<void>((resolve) => this.#waiting.push(resolve));
    clearTimeout(last);
  }
}

/**
 * Detaches the client's connection from its response.
 *
 * @returns the head of the 101 response.
 * @throws {ProtocolError} for an invalid head of the backend; else what a function of the app threw.
 */
function takeOver(res: ServerResponse, upgrade: UpgradeSocket, { fields, spelling }: Switched): string {
  const { protocol, socket } = upgrade;
  // RFC 9110 §7.8: a 101 names the new protocol, which must be the requested one.
  if (String(fields.upgrade).toLowerCase() !== protocol) {
    throw new ProtocolError(`the backend switched to another protocol than ${protocol}`);
  }
  applyResponseHead(res, 101, undefined, fields, spelling);
  const head = switchingProtocolsHead(res, protocol);
  res.detachSocket(socket as never);
  return head;
}

/** The head of the 101 response, with the app's own headers, as in any response. */
function switchingProtocolsHead(res: ServerResponse, protocol: string): string {
  let head = `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ${protocol}\r\n`;
  for (const name of rawHeaderNames(res)) {
    const lowerCase = name.toLowerCase();
    // A 101 response has no framing (RFC 9110 §8.6, RFC 9112 §6.1): the bytes after it are not HTTP.
    if (isHopByHop(lowerCase) || lowerCase === 'content-length') continue;
    for (const line of [res.getHeader(name) ?? []].flat()) head += `${name}: ${line}\r\n`;
  }
  return `${head}\r\n`;
}

/** Limits of upgraded connections, such as WebSockets. */
export interface TunnelOptions {
  /**
   * Idle timeout in milliseconds: both sides are closed after this time without a byte in either direction. 0 for none.
   *
   * @default 3_600_000
   */
  idleTimeoutMs?: number;
  /**
   * Milliseconds without a byte in either direction while one side does not read the bytes of the other. Then both sides are closed, because
   * the waiting side may have left without being noticed. 0 for any time.
   *
   * @default 60_000
   */
  sendTimeoutMs?: number;
  /**
   * Milliseconds of silence after one side has closed. Then the other side is cut off.
   *
   * @default 5_000
   */
  closeTimeoutMs?: number;
  /**
   * Upgraded connections at a time, unfinished handshakes included. Further upgrades get 503. 0 for no limit.
   *
   * @default 10_000
   */
  max?: number;
  /**
   * The same for one client address, or public IPv6 network (/56). Further upgrades get 429. 0 for any number.
   *
   * @default 1_000
   */
  maxPerClient?: number;
}

/** Defaults of {@link TunnelOptions}. */
export const tunnelDefaults = Object.freeze({
  idleTimeoutMs: 3_600_000,
  sendTimeoutMs: 60_000,
  closeTimeoutMs: 5_000,
  max: 10_000,
  maxPerClient: 1_000,
});

export const tunnelChecks: Checks<TunnelOptions> = {
  idleTimeoutMs: optionalDurationMs,
  sendTimeoutMs: optionalDurationMs,
  closeTimeoutMs: durationMs,
  max: integer(0),
  maxPerClient: integer(0),
};
