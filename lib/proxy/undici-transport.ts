import { AsyncResource } from 'node:async_hooks';
import type { ClientRequest, IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Plugin } from 'http-proxy-middleware';
import { GatewayError } from '../core/errors.ts';
import { exchangeOf } from '../core/exchange.ts';
import { type Checks, durationMs, resolveOptions } from '../core/options.ts';
import { thrownBy } from '../core/thrown-by.ts';
import { declaredLength } from '../core/unread-content.ts';
import { Attempt } from './attempt.ts';
import { type NativeOptions, nativeLikeHead, nativeNames, targetReader } from './plugin/native-like-head.ts';
import { PluginOwner, type ProxyServer } from './plugin/plugin-owner.ts';
import { watchRequests } from './request/hop-by-hop.ts';
import { warnOfOpenPrefixes } from './request/path-filter.ts';
import { KeptBody, type ReadBody, readBody } from './request/read-body.ts';
import { containListeners } from './response/contain-throws.ts';
import { sendHeadExactly } from './response/exact-head.ts';
import { AllConnections } from './transport/all-connections.ts';
import { Watchdog } from './watchdog.ts';

/** Options of {@link undiciTransport}. */
export interface UndiciTransportOptions {
  /**
   * Timeout for connecting to a target, in milliseconds.
   *
   * @default 10_000
   */
  connectTimeoutMs?: number;
  /**
   * Timeout from the end of a request to the head of its response, in milliseconds.
   *
   * @default `proxyTimeout`, else 120_000
   */
  responseTimeoutMs?: number;
  /**
   * Timeout without a byte in either direction, in milliseconds. Event streams are exempt.
   *
   * @default `proxyTimeout`, else 120_000
   */
  idleTimeoutMs?: number;
  /**
   * Where to find a body that a middleware read before the proxy. Either the name of a property of the request that has the raw bytes
   * (`express.json({ verify: (req, _res, bytes) => { req.rawBody = bytes; } })` and `body: 'rawBody'`), or a function of the
   * request, such as {@link parsedBody}.
   *
   * @default none: such requests end in the error `ERR_EXPRESSWAY_BODY_ALREADY_READ`
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

/** Options of http-proxy-middleware that only its native transport supports. Its types do not have the last two. */
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

const CONNECT = 'A middleware set req.method to CONNECT, which opens a tunnel: this transport does not forward it';

/**
 * Events whose listeners get request or response objects of the native transport, with the number of listeners that the default plugins of
 * http-proxy-middleware add. Those only log, so they do not need the native transport.
 */
export const NATIVE_EVENTS = { proxyReq: 1, proxyRes: 2, start: 0, end: 0, econnreset: 1 } as const;

/**
 * A plugin for http-proxy-middleware that sends requests with undici instead of `node:http`:
 *
 * ```ts
 * app.use(createProxyMiddleware({ target: 'http://localhost:3000', plugins: [undiciTransport()] }));
 * ```
 *
 * Filters, router, rewrites, `changeOrigin`, `headers`, `xfwd` and the `error` event work as without it. Requests that
 * need the native transport still go over it: those with `selfHandleResponse`, `followRedirects`, `forward`, `buffer`, `agent`,
 * cookie or location rewrites, listeners of `proxyReq`, `proxyRes`, `start`, `end` or `econnreset`, or certificates in the
 * target. WebSockets always do.
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
    const connections = new AllConnections({ ...timeouts, forgetIdle: true });
    const watchdog = new Watchdog(Math.min(timeouts.responseTimeoutMs, timeouts.idleTimeoutMs));
    const { web: native, close } = proxyServer;
    // Keeps the native transport from changing bytes of headers, in either direction.
    proxyServer.on('proxyReq', sendHeadExactly as (proxyReq: ClientRequest) => void);
    const expected = Object.entries(NATIVE_EVENTS).map(
      ([name, byDefault]) => [name, (hpmOptions.ejectPlugins ? 0 : byDefault) + (name === 'proxyReq' ? 1 : 0)] as const,
    );
    sendUpgradeHeadsExactly(proxyServer);
    const readTarget = targetReader();
    const names = nativeNames();
    const { body } = timeouts;
    watchRequests();

    // The middleware closes its proxy together with the last server that used it.
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
        expected.some(([name, count]) => proxyServer.listenerCount(name) > count);
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
          if (req.method === 'CONNECT') throw new GatewayError('ERR_EXPRESSWAY_REQUEST_HEAD', CONNECT);
          const sent = owner.takeBody(body);
          const kept = sent instanceof KeptBody ? sent : undefined;
          const length = kept?.length ?? declaredLength(req);
          new Attempt(exchange, owner, watchdog, timeouts).start(
            connections.to({ identity: target.origin, origin: target.origin }),
            nativeLikeHead(req, target, options, length, names, kept?.isDecoded === true),
            sent,
          );
        } catch (error) {
          owner.failed(thrownBy('A function of the app', error) as Error);
        }
      });
    };
  };
  // It uses only properties that the requests and responses of every server have. TypeScript cannot know that, because parameters use the types.
  return plugin as unknown as Plugin<TReq, TRes>;
}

/**
 * Makes http-proxy-middleware's own WebSocket proxy send the head of a backend's response byte for byte. By itself it writes header
 * names in lower case, and values as UTF-8, though Node has read them as Latin-1.
 */
function sendUpgradeHeadsExactly(proxyServer: ProxyServer): void {
  proxyServer.on('proxyReqWs', (proxyReq: ClientRequest, _req: unknown, client: Duplex) => {
    const onResponse = (response: IncomingMessage): void => correctNextWrite(client, response.rawHeaders);
    // The proxy's own listeners write the head at once.
    proxyReq.prependOnceListener('upgrade', onResponse);
    proxyReq.prependOnceListener('response', onResponse);
  });
}

function correctNextWrite(client: Duplex, rawHeaders: readonly string[]): void {
  const own = Object.getOwnPropertyDescriptor(client, 'write');
  const { write } = client;
  client.write = (head: string, ...rest: unknown[]): boolean => {
    if (own === undefined) Reflect.deleteProperty(client, 'write');
    else Object.defineProperty(client, 'write', own);
    return Reflect.apply(write, client, [spelled(head, rawHeaders), 'latin1', ...rest]);
  };
}

/** Gives each header name the spelling in which the backend sent it first. */
function spelled(head: string, rawHeaders: readonly string[]): string {
  const spellings = new Map<string, string>();
  for (let i = rawHeaders.length - 2; i >= 0; i -= 2) {
    const spelling = rawHeaders[i] as string;
    spellings.set(spelling.toLowerCase(), spelling);
  }
  return head.replace(/^[^\s:]+(?=:)/gm, (name) => spellings.get(name) ?? name);
}
