import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { createProxyMiddleware, type Filter, type Options as HpmOptions, type Plugin } from 'http-proxy-middleware';
import { Backend, type BackendStatus } from '../backends/backend.ts';
import { BackendPool } from '../backends/backend-pool.ts';
import { backendList } from '../backends/backend-url.ts';
import { RoundRobin } from '../backends/round-robin.ts';
import { Circuit, type CircuitOptions, circuitChecks, circuitDefaults } from '../circuit-breaker/circuit.ts';
import { GatewayEvents } from '../core/events.ts';
import { exchangeOf } from '../core/exchange.ts';
import type { Middleware } from '../core/http.ts';
import {
  anything,
  boolean,
  type Checks,
  durationMs,
  func,
  group,
  nonEmptyString,
  OptionsError,
  oneOf,
  optional,
  resolveOptions,
} from '../core/options.ts';
import type { Outcome } from '../core/outcome.ts';
import { Connections } from './connections.ts';
import { type ForwarderParts, Forwarding } from './forwarder.ts';
import type { ForwardedMode } from './forwarding-fields.ts';
import { Watchdog } from './watchdog.ts';

export interface RoundRobinProxyOptions {
  /** Origins of the backends, `http://host:port` or `https://host:port`; at least one, none twice. */
  backends: readonly string[];
  /** The circuit that each backend has for itself. Default: {@link circuitDefaults}. */
  circuit?: CircuitOptions;
  /** Milliseconds to connect to a backend; then the next one is asked. Default 2 000. */
  connectTimeoutMs?: number;
  /** Milliseconds from the end of a request to the head of its answer; then 504. Default 15 000. */
  responseTimeoutMs?: number;
  /** Milliseconds without a byte; then the exchange is cut. Event streams and upgrades are exempt. Default 60 000. */
  idleTimeoutMs?: number;
  /**
   * `replace` sends the client's address alone as `X-Forwarded-For`; `append` adds to the list that a trusted peer
   * sent (an untrusted peer's is dropped in both). Default `replace`.
   */
  forwarded?: ForwardedMode;
  /** Pseudonym of this gateway in `Via` (RFC 9110 §7.6.3): says nothing about the machine. Default `expressway`. */
  via?: string;
  /** Send the backend's authority as `Host` instead of the client's. Default false. */
  changeOrigin?: boolean;
  /** Which requests to proxy, as in http-proxy-middleware; the others go to the next handler. Default all. */
  pathFilter?: Filter;
  /** Rewrites the path, as in http-proxy-middleware. Default none. */
  pathRewrite?: NonNullable<HpmOptions['pathRewrite']>;
  /** Replaces the rule that a failure and a status of 500 or more count against a backend. */
  isFailure?: (outcome: Outcome) => boolean;
  /** Where events go. Default: an emitter of its own, as `events`. */
  events?: GatewayEvents;
}

export const roundRobinProxyDefaults = Object.freeze({
  circuit: {},
  connectTimeoutMs: 2_000,
  responseTimeoutMs: 15_000,
  idleTimeoutMs: 60_000,
  forwarded: 'replace' as ForwardedMode,
  via: 'expressway',
  changeOrigin: false,
});

const checks: Checks<RoundRobinProxyOptions> = {
  backends: backendList,
  circuit: group(circuitDefaults, circuitChecks),
  connectTimeoutMs: durationMs,
  responseTimeoutMs: durationMs,
  idleTimeoutMs: durationMs,
  forwarded: oneOf('replace', 'append'),
  via: nonEmptyString,
  changeOrigin: boolean,
  pathFilter: anything,
  pathRewrite: anything,
  isFailure: optional(func),
  events: optional((value) => (value instanceof GatewayEvents ? undefined : 'must be a GatewayEvents')),
};

/** The middleware, and what can be asked of it. */
export interface RoundRobinProxy extends Middleware {
  readonly events: GatewayEvents;
  status(): BackendStatus[];
  /**
   * Replaces the backends. Those that stay keep circuit and connections; those that go get no new request,
   * finish what they have, and are then disconnected.
   *
   * @throws {OptionsError} and changes nothing, when the list is not usable.
   */
  setBackends(backends: readonly string[]): void;
  /** Ends tunnels at once, and the connections to backends when their running requests have ended. */
  close(): Promise<void>;
}

/**
 * Forwards each request to the next available backend: strict rotation, one circuit per backend, and no
 * visible error where another backend could be reached.
 *
 * @throws {OptionsError} that names each unknown key and each bad value.
 */
export function roundRobinProxy(given: RoundRobinProxyOptions): RoundRobinProxy {
  const options = resolveOptions('roundRobinProxy', given, roundRobinProxyDefaults, checks);
  const circuitOptions = resolveOptions('roundRobinProxy.circuit', options.circuit, circuitDefaults, circuitChecks);
  const events = options.events ?? new GatewayEvents();
  const pool = new BackendPool(new RoundRobin(), (url) => {
    const circuit = new Circuit(url.origin, circuitOptions);
    circuit.onStateChange((from, to, retryAfterMs) =>
      events.emit('circuitStateChange', { circuit: url.origin, from, to, retryAfterMs }),
    );
    return new Backend(url, circuit);
  });
  pool.setBackends(options.backends.map((backend) => new URL(backend)));
  const connections = new Connections(options);
  const watchdog = new Watchdog(Math.min(options.responseTimeoutMs, options.idleTimeoutMs));
  const tunnels = new Set<Duplex>();
  const parts: ForwarderParts = {
    pool,
    connections,
    watchdog,
    timeouts: options,
    rules: options,
    events,
    isFailure: options.isFailure,
    tunnels,
  };
  const middleware = createProxyMiddleware({
    // It wants a target; which backend it really is is known per request only.
    target: new URL('http://backend.invalid'),
    ejectPlugins: true,
    plugins: [forwardingPlugin(parts)],
    ...(options.pathFilter === undefined ? {} : { pathFilter: options.pathFilter }),
    ...(options.pathRewrite === undefined ? {} : { pathRewrite: options.pathRewrite }),
  });

  return Object.assign(
    function expresswayProxy(req, res, next) {
      void middleware(req, res, next);
    } satisfies Middleware,
    {
      events,
      status: () => pool.status(),
      setBackends(backends: readonly string[]): void {
        const problem = backendList(backends);
        if (problem !== undefined) throw new OptionsError('setBackends', [`backends ${problem}`]);
        const { added, removed } = pool.setBackends(backends.map((backend) => new URL(backend)));
        for (const backend of removed) void connections.remove(backend.origin);
        const origins = (list: readonly Backend[]) => list.map((backend) => backend.origin);
        events.emit('backendsChanged', { added: origins(added), removed: origins(removed) });
      },
      async close(): Promise<void> {
        for (const socket of tunnels) socket.destroy();
        await connections.close();
        watchdog.close();
      },
    },
  );
}

/** Puts our forwarding under http-proxy-middleware: its filters and rewrites stay, its transport is never used. */
function forwardingPlugin(parts: ForwarderParts): Plugin {
  return (proxyServer) => {
    // Without a listener, the error of a throwing path rewrite would end the process before it reached next().
    proxyServer.on('error', () => {});
    proxyServer.web = async (req: IncomingMessage, res) => {
      new Forwarding(parts, exchangeOf(req, res)).start();
    };
  };
}
