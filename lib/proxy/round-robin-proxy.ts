import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { createProxyMiddleware, type Plugin } from 'http-proxy-middleware';
import { Backend, type BackendStatus } from '../backends/backend.ts';
import { BackendPool } from '../backends/backend-pool.ts';
import { type BackendOptions, backendList, readBackends } from '../backends/backend-url.ts';
import { RoundRobin } from '../backends/round-robin.ts';
import { Circuit, circuitChecks, circuitDefaults } from '../circuit-breaker/circuit.ts';
import { GatewayEvents } from '../core/events.ts';
import { exchangeOf } from '../core/exchange.ts';
import type { Middleware } from '../core/http.ts';
import { OptionsError, resolveOptions } from '../core/options.ts';
import { Connections } from './connections.ts';
import { type ForwarderParts, Forwarding } from './forwarder.ts';
import {
  type RoundRobinProxyOptions,
  roundRobinProxyChecks,
  roundRobinProxyDefaults,
} from './round-robin-proxy-options.ts';
import { Watchdog } from './watchdog.ts';

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
  setBackends(backends: readonly (string | BackendOptions)[]): void;
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
  const options = resolveOptions('roundRobinProxy', given, roundRobinProxyDefaults, roundRobinProxyChecks);
  const circuitOptions = resolveOptions('roundRobinProxy.circuit', options.circuit, circuitDefaults, circuitChecks);
  const events = options.events ?? new GatewayEvents();
  const pool = new BackendPool(new RoundRobin(), (config) => {
    const { origin } = config.url;
    const circuit = new Circuit(origin, circuitOptions);
    circuit.onStateChange((from, to, retryAfterMs) =>
      events.emit('circuitStateChange', { circuit: origin, from, to, retryAfterMs }),
    );
    return new Backend(config, circuit);
  });
  pool.setBackends(readBackends(options.backends));
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
      setBackends(backends: readonly (string | BackendOptions)[]): void {
        const problems = backendList(backends);
        if (problems !== undefined) throw new OptionsError('setBackends', [problems].flat());
        const { added, removed } = pool.setBackends(readBackends(backends));
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
