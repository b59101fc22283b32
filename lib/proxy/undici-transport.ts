import { AsyncResource } from 'node:async_hooks';
import { EventEmitter } from 'node:events';
import type { ClientRequest, IncomingMessage, ServerResponse } from 'node:http';
import { debugProxyErrorsPlugin, type Options as HpmOptions, loggerPlugin, type Plugin } from 'http-proxy-middleware';
import { declaredLength } from '../core/declared-length.ts';
import { exchangeOf } from '../core/exchange.ts';
import { type Checks, durationMs, resolveOptions } from '../core/options.ts';
import { handlerError, type Outcome } from '../core/outcome.ts';
import { respond } from '../core/reject.ts';
import { Attempt } from './attempt.ts';
import type { AttemptOwner } from './attempt-owner.ts';
import { alreadyReadError, whyUnreadable } from './request/body-already-read.ts';
import { watchRequests } from './request/hop-by-hop.ts';
import { warnOfOpenPrefixes } from './request/path-filter-warning.ts';
import { KeptBody, keptBody, type ReadBody, readBody } from './request/read-body.ts';
import { type ContentOwner, RequestContent, type SendableContent } from './request/request-content.ts';
import { sendHeadExactly } from './response/exact-head.ts';
import { Connections } from './transport/connections.ts';
import { nativeLikeError } from './transport/native-like-error.ts';
import {
  type NativeOptions,
  nativeLikeHead,
  nativeNames,
  type Target,
  targetReader,
} from './transport/native-like-head.ts';
import { containListeners } from './tunnel/contain-throws.ts';
import { sendUpgradeHeadsExactly } from './tunnel/native-upgrade-head.ts';
import { Watchdog } from './watchdog.ts';

type ProxyServer = Parameters<Plugin>[0];

/** Options of {@link undiciTransport}. */
export interface UndiciTransportOptions {
  /** Milliseconds to connect to a target. Default 10 000. */
  connectTimeoutMs?: number;
  /** Milliseconds from the end of a request to the head of its answer. Default: `proxyTimeout`, else 120 000. */
  responseTimeoutMs?: number;
  /** Milliseconds without a byte; event streams are exempt. Default: `proxyTimeout`, else 120 000. */
  idleTimeoutMs?: number;
  /**
   * Where the body of a request is that a middleware read before: the name of a property of the request that has the raw bytes
   * (`express.json({ verify: (req, _res, bytes) => { req.rawBody = bytes; } })` and `body: 'rawBody'`), or a function of the
   * request, such as {@link parsedBody}. Default: such requests are an error.
   */
  body?: ReadBody;
}

/** Defaults of {@link UndiciTransportOptions}. */
export const undiciTransportDefaults = Object.freeze({
  connectTimeoutMs: 10_000,
  responseTimeoutMs: 120_000,
  idleTimeoutMs: 120_000,
});

const checks: Checks<UndiciTransportOptions> = {
  connectTimeoutMs: durationMs,
  responseTimeoutMs: durationMs,
  idleTimeoutMs: durationMs,
  body: readBody,
};

/** Options of http-proxy-middleware whose meaning is bound to its native transport; its types do not know the last two. */
const NATIVE_ONLY: readonly string[] = [
  'selfHandleResponse',
  'followRedirects',
  'forward',
  'buffer',
  'ssl',
  'localAddress',
  'timeout',
  'auth',
  'toProxy',
  'hostRewrite',
  'autoRewrite',
  'protocolRewrite',
  'cookieDomainRewrite',
  'cookiePathRewrite',
  'preserveHeaderKeyCase',
  'method',
  'ca',
] satisfies (keyof NativeOptions | 'method' | 'ca')[];

/** Events that hand out the native transport's own request or response objects. */
const NATIVE_EVENTS = ['proxyReq', 'proxyRes', 'start', 'end', 'econnreset'] as const;

/**
 * A plugin for http-proxy-middleware that sends requests with undici instead of `node:http`:
 *
 * ```ts
 * app.use(createProxyMiddleware({ target: 'http://localhost:3000', plugins: [undiciTransport()] }));
 * ```
 *
 * Filters, router, rewrites, `changeOrigin`, `headers`, `xfwd` and the `error` event work as without it. What
 * needs the native transport (`selfHandleResponse`, `followRedirects`, `forward`, `buffer`, `agent`, cookie and
 * location rewrites, listeners of `proxyReq`, `proxyRes`, `start`, `end` or
 * `econnreset`, TLS material in the target) goes on
 * over it, per request, without a word. WebSockets always do.
 *
 * @throws {OptionsError} that names each unknown key and each bad value.
 */
export function undiciTransport<
  TReq extends IncomingMessage = IncomingMessage,
  TRes extends ServerResponse = ServerResponse,
>(given?: UndiciTransportOptions): Plugin<TReq, TRes> {
  resolveOptions('undiciTransport', given, undiciTransportDefaults, checks);
  const plugin: Plugin = function undiciTransportPlugin(proxyServer, hpmOptions) {
    const { proxyTimeout, pathFilter } = hpmOptions;
    warnOfOpenPrefixes(pathFilter);
    const inherited = proxyTimeout ? { responseTimeoutMs: proxyTimeout, idleTimeoutMs: proxyTimeout } : {};
    const defaults = { ...undiciTransportDefaults, ...inherited };
    const timeouts = resolveOptions<UndiciTransportOptions, typeof defaults>(
      'undiciTransport',
      given,
      defaults,
      checks,
    );
    const connections = new Connections({ ...timeouts, forgetIdle: true });
    const watchdog = new Watchdog(Math.min(timeouts.responseTimeoutMs, timeouts.idleTimeoutMs));
    const { web: native, close } = proxyServer;
    const byDefault = listenersByDefault(hpmOptions);
    // Natively, too, no byte of a header changes, in either direction.
    for (const server of [proxyServer, byDefault])
      server.on('proxyReq', sendHeadExactly as (proxyReq: ClientRequest) => void);
    sendUpgradeHeadsExactly(proxyServer);
    const readTarget = targetReader();
    const names = nativeNames();
    const { body } = timeouts;
    watchRequests();

    // The middleware closes its proxy with the last server that it was used in.
    proxyServer.close = (callback) => {
      void connections.close();
      close.call(proxyServer, callback);
    };
    proxyServer.web = (req, res, options = {}, head) => {
      const target = readTarget(options.target);
      const needsNative =
        target === undefined ||
        NATIVE_ONLY.some((name) => (options as Record<string, unknown>)[name]) ||
        options.agent !== undefined ||
        options.secure === false ||
        req.httpVersionMajor > 1 ||
        NATIVE_EVENTS.some((name) => proxyServer.listenerCount(name) > byDefault.listenerCount(name));
      if (needsNative) {
        sendHeadExactly(res);
        return native.call(proxyServer, req, res, options, head);
      }
      return new Promise<void>((resolve, reject) => {
        const owner = new PluginOwner(proxyServer, req, res, target, resolve, reject);
        const exchange = exchangeOf(req, res);
        exchange.scope = new AsyncResource('ExpresswayExchange');
        containListeners(exchange);
        try {
          const content = owner.content(body);
          const kept = content instanceof KeptBody ? content : undefined;
          const length = kept?.length ?? declaredLength(req);
          new Attempt(exchange, owner, watchdog, timeouts).start(
            connections.to({ identity: target.origin, origin: target.origin }),
            nativeLikeHead(req, target, options, length, names, kept?.isDecoded === true),
            content,
          );
        } catch (error) {
          owner.failed(error as Error);
        }
      });
    };
  };
  // It reads of request and response only what every server's have.
  return plugin as unknown as Plugin<TReq, TRes>;
}

/** http-proxy-middleware's default plugins listen too, for logging only: those must not count. */
function listenersByDefault({ ejectPlugins }: HpmOptions): EventEmitter {
  const probe = new EventEmitter();
  if (!ejectPlugins) for (const plugin of [debugProxyErrorsPlugin, loggerPlugin]) plugin(probe as ProxyServer, {});
  return probe;
}

/** Reports as the native transport does: failures become the proxy server's `error` event. */
class PluginOwner implements AttemptOwner, ContentOwner {
  readonly #server: ProxyServer;
  readonly #req: IncomingMessage;
  readonly #res: ServerResponse;
  readonly #target: Target;
  #content: SendableContent | undefined;
  #unsendable: Error | undefined;
  readonly #resolve: () => void;
  readonly #reject: (error: Error) => void;

  constructor(
    server: ProxyServer,
    req: IncomingMessage,
    res: ServerResponse,
    target: Target,
    resolve: () => void,
    reject: (error: Error) => void,
  ) {
    this.#server = server;
    this.#req = req;
    this.#res = res;
    this.#target = target;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  /** @throws {GatewayError} ERR_EXPRESSWAY_BODY_ALREADY_READ */
  content(body: ReadBody | undefined): SendableContent | undefined {
    if (declaredLength(this.#req) === 0) return undefined;
    const why = whyUnreadable(this.#req);
    if (why === undefined) this.#content = new RequestContent(this.#req, 0, 0, this);
    else this.#content = keptBody(this.#req, body);
    if (this.#content === undefined) throw alreadyReadError(why);
    return this.#content;
  }

  contentRefused(): void {
    this.#unsendable = alreadyReadError();
    const { working, scope } = exchangeOf(this.#req, this.#res);
    if (working !== undefined) scope.runInAsyncScope(working.abort, working);
  }

  sent(): void {}

  accepts(): boolean {
    return true;
  }

  answered(): void {}

  upgraded(): void {
    throw new Error('an upgrade never comes this way');
  }

  ended(outcome: Outcome): void {
    if (outcome.kind === 'failed') {
      if (outcome.headSent) this.#res.destroy();
      // Natively too, listeners hear of a response that broke off, and without one nothing is rejected.
      if (!outcome.headSent || this.#server.listenerCount('error') > 0) this.#report(nativeLikeError(outcome));
    } else if (outcome.kind === 'rejected') {
      this.#report(outcome.error ?? new Error(outcome.detail ?? outcome.cause));
    } else if (this.#unsendable !== undefined) {
      if (this.#res.headersSent) this.#res.destroy();
      this.#report(this.#unsendable);
    }
    this.#over();
  }

  threw(error: unknown): void {
    respond(exchangeOf(this.#req, this.#res), handlerError(error, this.#res.headersSent));
    this.#over();
  }

  /** The request cannot be sent as it is: no attempt was made. */
  failed(error: Error): void {
    this.#report(error);
    this.#over();
  }

  #over(): void {
    this.#content?.drain();
    this.#resolve();
  }

  #report(error: Error): void {
    if (this.#server.listenerCount('error') === 0) this.#reject(error);
    else this.#server.emit('error', error, this.#req, this.#res, this.#target.given);
  }
}
