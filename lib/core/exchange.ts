import { AsyncResource } from 'node:async_hooks';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { isAuthority } from './authority.ts';
import { isBrokenOff } from './broken-off.ts';
import type { Cause } from './causes.ts';
import { foldAddress, schemeOf } from './connection.ts';
import { firstEntry, type GatewayRequest, isEventStream } from './http.ts';
import { ABORTED, handlerError, type Outcome, type RequestFault } from './outcome.ts';
import type { ErrorBody } from './problem.ts';
import type { Recorder } from './recorder.ts';
import { thrownBy } from './thrown-by.ts';
import { warnOfTrustMismatch, warnOfUntrustedPeer } from './untrusted-peer.ts';
import { warnOnce } from './warnings.ts';

/** Called once, with the outcome of an exchange. */
export interface ExchangeObserver {
  settled(outcome: Outcome, exchange: Exchange): void;
}

/** The sender of a request, as authentication found it. */
export interface Consumer {
  readonly name: string;
  /** Name of the consumer's plan, which selects limits. */
  readonly plan?: string | undefined;
  /** Claims of a JSON Web Token. */
  readonly claims?: Readonly<Record<string, unknown>> | undefined;
}

/** The raw connection of an upgrade request. */
export interface UpgradeSocket {
  readonly socket: Duplex;
  /** Bytes that the client sent after the request head. */
  readonly head: Buffer;
  /** The protocol that the client asks for, in lower case. */
  readonly protocol: string;
}

/** Work in progress for a client. It is stopped when the client's connection is gone. */
export interface Abortable {
  abort(): void;
}

/** Schemes of requests; some proxies name those of WebSockets. */
const SCHEME = /^(?:http|ws)s?$/;

const kExchange = Symbol('expressway.exchange');

const COPIES =
  'Middlewares of two copies of expressway handle requests of one server, and know nothing of each other: "npm ls expressway" finds them';

type Tagged = IncomingMessage & { [kExchange]?: Exchange };

/**
 * The facts of one request, shared by all middlewares that it passes. It settles once, with the outcome that a middleware reports, or with
 * the outcome that the closed response shows.
 */
export class Exchange {
  readonly req: GatewayRequest;
  readonly res: ServerResponse;
  readonly startedAt: number = Date.now();
  /** Set when the request came through `upgradeHandler()`. */
  upgrade: UpgradeSocket | undefined;
  /** Set by the middlewares that authenticate. */
  consumer: Consumer | undefined;
  /** Makes the body of a response of the gateway itself; `undefined` for a problem document. */
  errorBody: ((exchange: Exchange, cause: Cause, detail: string | undefined) => ErrorBody | undefined) | undefined;
  /** Names, in lower case, of request headers that authentication wrote. They are not the client's, even if it sent the same value. */
  writtenHeaders: Set<string> | undefined;
  /** Headers that the last backend got: names and values in turn. */
  sentFields: readonly string[] | undefined;
  /** The changes of the route to the headers that the backend gets: names and values in turn. */
  changeHeaders: ((fields: string[], exchange: Exchange) => void) | undefined;
  /** Names of query parameters that hold credentials, beside the usual ones. The access log masks them. */
  secretParameters: ReadonlySet<string> | undefined;
  /** Name of the `serviceRouter()` route that matched the request. */
  route: string | undefined;
  /** Whether its route itself responds, as `respond` and `redirect` of a declaration say. */
  isDeclared = false;
  /** Whether the app got an error in place of the response, so that its error handlers respond. */
  isAppError = false;
  /** Set if the backend gets another path prefix or host than the client sent. Prefixes do not end with a slash. */
  prefixes: { readonly client: string; readonly backend: string; readonly host: string | undefined } | undefined;
  /** Whether the gateway writes the CORS headers. Then those of the app and the backend are dropped. */
  ownsCors = false;
  /** Name of the service: that of `serviceRouter()`, or the option `name` of `roundRobinProxy()`. `undefined` while it is unknown. */
  service: string | undefined;
  /** Origin of the backend that was asked last. */
  backend: string | undefined;
  /** How many backends were asked. */
  attempts = 0;
  /** The fault that the checks of the request found: `undefined` before the checks, `null` if there is none. */
  fault: RequestFault | null | undefined;
  /** Set by `observability()`, before any other middleware sees the request. */
  recorder: Recorder | undefined;
  /**
   * The async context of the request: the stores of `AsyncLocalStorage`, and the active span. Calls from another connection, a timer or a
   * queue run in it. A proxy replaces it, because a middleware may have added a store since.
   */
  scope = new AsyncResource('ExpresswayExchange');
  /** Work in progress on the response. It clears this when it is done. */
  working: Abortable | undefined;
  #outcome: Outcome | undefined;
  #observers: ExchangeObserver[] = [];
  #peerTrusted: boolean | undefined;
  #trustedBy: GatewayRequest['app'];
  #clientAddress: string | undefined;
  #addressIn: GatewayRequest['app'];

  constructor(req: GatewayRequest, res: ServerResponse) {
    this.req = req;
    this.res = res;
    warnOfCopies(req);
    // Before the listeners of the app: if one throws, later ones are not called.
    res.prependListener('close', () => this.scope.runInAsyncScope(this.#closed, this));
  }

  /** The outcome, once there is one. */
  get outcome(): Outcome | undefined {
    return this.#outcome;
  }

  /**
   * The first call decides; later ones are ignored. But an event stream counts as complete at its head: if it is cut later, the record has
   * that, and circuits keep what they have counted.
   */
  settle(outcome: Outcome): void {
    if (this.#outcome !== undefined) {
      const isCut = outcome.kind === 'failed' || outcome.kind === 'rejected';
      if (isCut && this.#outcome.kind === 'completed') this.#outcome = outcome;
      return;
    }
    this.#outcome = outcome;
    const observers = this.#observers;
    this.#observers = [];
    for (const observer of observers) observer.settled(outcome, this);
  }

  observe(observer: ExchangeObserver): void {
    if (this.#outcome !== undefined) observer.settled(this.#outcome, this);
    else this.#observers.push(observer);
  }

  /** Whether `trust proxy` of the app that has the request trusts the peer of the connection. */
  get peerTrusted(): boolean {
    const { app } = this.req;
    if (this.#peerTrusted === undefined || this.#trustedBy !== app) {
      const before = this.#peerTrusted;
      this.#trustedBy = app;
      this.#peerTrusted = isPeerTrusted(this.req);
      if (before !== undefined && before !== this.#peerTrusted && this.recorder !== undefined)
        warnOfTrustMismatch(this.req);
      if (!this.#peerTrusted && this.req.headers?.['x-forwarded-for'] !== undefined) warnOfUntrustedPeer(this.req);
    }
    return this.#peerTrusted;
  }

  /**
   * The client's address: `req.ip`, with IPv4-mapped IPv6 as IPv4. So a middleware can define it, and otherwise `trust proxy` of the app that
   * has the request decides. `undefined` when the connection is gone and the address was not read before.
   */
  get clientAddress(): string | undefined {
    const { req } = this;
    const { app } = req;
    if (Object.hasOwn(req, 'ip') || (app?.request !== undefined && Object.hasOwn(app.request, 'ip'))) {
      return typeof this.#ip === 'string' ? foldAddress(this.#ip) : undefined;
    }
    if (this.#clientAddress === undefined || this.#addressIn !== app) {
      this.#addressIn = app;
      // Express's own getter parses X-Forwarded-For on every read, trusted or not.
      this.#clientAddress = foldAddress(this.peerTrusted ? this.#ip : req.socket?.remoteAddress) ?? this.#clientAddress;
    }
    return this.#clientAddress;
  }

  /** Express's getter calls the function that the app gave as `trust proxy`, and an app may define another getter. */
  get #ip(): string | undefined {
    try {
      return this.req.ip;
    } catch (error) {
      throw thrownBy('req.ip', error);
    }
  }

  /** Value of a header such as `X-Forwarded-Host`, if the peer is trusted. Of a list, the entry nearest to the client. */
  trustedField(name: string): string | undefined {
    return this.peerTrusted ? firstEntry(this.req.headers[name]) : undefined;
  }

  /** `X-Forwarded-Host` of a trusted peer. Many proxies pass on what a client sends, so a text that is no host does not count. */
  get forwardedHost(): string | undefined {
    const host = this.trustedField('x-forwarded-host');
    return host !== undefined && isAuthority(host) ? host : undefined;
  }

  /** The host that the client asked for, with its port: `X-Forwarded-Host` of a trusted peer, or `Host`. Empty without one. */
  get host(): string {
    return this.forwardedHost || this.prefixes?.host || this.req.headers.host || '';
  }

  /** The scheme that the client used: `X-Forwarded-Proto` of a trusted peer, or that of the connection. */
  get scheme(): string {
    const scheme = this.trustedField('x-forwarded-proto')?.toLowerCase();
    return scheme !== undefined && SCHEME.test(scheme) ? scheme : schemeOf(this.req.socket);
  }

  /** Whether the client used TLS. */
  get isSecure(): boolean {
    return this.scheme === 'https' || this.scheme === 'wss';
  }

  #closed(): void {
    // Not in place of a known outcome: the end of a tunnel looks as if the app had broken off its response.
    if (this.#outcome === undefined) this.settle(observed(this));
    try {
      this.working?.abort();
    } finally {
      this.recorder?.ended();
    }
  }
}

const kCopy = Symbol.for('expressway.copy');

/** Marks a server as that of this copy of the package. Middlewares of another copy have exchanges of their own. */
function warnOfCopies(req: GatewayRequest): void {
  // Node sets it to null for a socket that no server has accepted.
  const { server } = (req.socket ?? {}) as { readonly server?: { [kCopy]?: symbol } | null };
  if (!server) return;
  server[kCopy] ??= kExchange;
  if (server[kCopy] !== kExchange) warnOnce(req, 'WARN_EXPRESSWAY_COPIES', COPIES);
}

/** The address to ask `trust proxy` about. A peer on a Unix socket has none, and Express is asked all the same. */
function isPeerTrusted({ app, socket }: GatewayRequest): boolean {
  const trust = app?.get('trust proxy fn') as ((address: string | undefined, hop: number) => boolean) | undefined;
  const peer = socket?.remoteAddress;
  if (trust === undefined || (peer === undefined && socket?.destroyed !== false)) return false;
  try {
    return trust(peer, 0);
  } catch (error) {
    throw thrownBy('"trust proxy"', error);
  }
}

/** The exchange of a request, which is created by the first call. */
export function exchangeOf(req: IncomingMessage, res: ServerResponse): Exchange {
  const tagged = req as Tagged;
  tagged[kExchange] ??= new Exchange(req, res);
  return tagged[kExchange];
}

/** The exchange of a request that a middleware of the suite has seen before. */
export const knownExchange = (req: IncomingMessage): Exchange | undefined => (req as Tagged)[kExchange];

/** The outcome that a closed response shows, if no middleware has reported one. */
function observed({ req, res }: Exchange): Outcome {
  if (res.writableFinished) return { kind: 'completed', status: res.statusCode };
  if (isBrokenOff(req, res))
    return handlerError(res.errored ?? req.errored ?? new Error('the app broke off its response'), res.headersSent);
  // An event stream has no defined end: a client that leaves it got what it asked for.
  if (res.headersSent && isEventStream(res.getHeader('content-type'))) {
    return { kind: 'completed', status: res.statusCode };
  }
  return ABORTED;
}
