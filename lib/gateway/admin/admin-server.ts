import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { isIP } from 'node:net';
import { type OpenMetricsContentType, Registry } from 'prom-client';
import { createServer } from '../../core/node-http.ts';
import { hardenServer } from '../../index.ts';
import { ADMIN_CONNECTIONS } from '../open-files.ts';
import { closeIdleConnections } from './idle-connections.ts';
import { isRead, refuseMethod, sendJson, sendProblem, sendText, setBrowserFields } from './responses.ts';
import { StatusSite, type StatusSiteParts } from './status-site.ts';

export type Phase = 'starting' | 'running' | 'stopping';

/** The gateway, as the admin listener shows it. */
export interface AdminView {
  readonly phase: Phase;
  status(): object | Promise<object>;
}

/** A registry, or a function that makes one for each scrape. */
type MetricsSource = Registry | (() => Promise<Registry>);

export interface AdminOptions {
  /** Source of `/metrics`; without it there is no such page. */
  readonly register?: MetricsSource | undefined;
  /** The status page and its API; without it there are none. */
  readonly site?: StatusSiteParts | undefined;
  /** The configured host name, which the `Host` of a request may have. */
  readonly host?: string;
  /** Most connections. When nearly all are in use, idle ones are closed for new ones. Default 256. */
  readonly maxConnections?: number;
  /** Called when an idle connection is closed to make room, with the address that has the most connections. */
  readonly crowded?: (address: string, held: number, maxConnections: number) => void;
}

type Endpoint = (view: AdminView) => { readonly status: number; readonly content: object | Promise<object> };

const ENDPOINTS: Readonly<Record<string, Endpoint>> = {
  '/livez': () => ({ status: 200, content: { status: 'alive' } }),
  // Ready means "send me traffic", not "all is well". Gateways share the backends: if this followed their state, all gateways would
  // leave the load balancer at once, and clients would lose the 503 with its `Retry-After`.
  '/readyz': ({ phase }) => ({ status: phase === 'running' ? 200 : 503, content: { status: phase } }),
  '/status': (view) => ({ status: 200, content: view.status() }),
};

const OPEN_METRICS = Registry.OPENMETRICS_CONTENT_TYPE;

/** Paths that accept any `Host`, because probes of an orchestrator may use any name. They reveal nothing secret. */
const PROBES = new Set(['/livez', '/readyz']);

/** The listener for operators. It is separate from the listener for traffic. */
export function createAdminServer(view: AdminView, options: AdminOptions = {}): Server {
  const { register, host = '', maxConnections = ADMIN_CONNECTIONS, crowded } = options;
  const site = options.site && new StatusSite(options.site, () => view.phase);
  const server = createServer((req, res) => {
    const path = req.url?.split('?', 1)[0] ?? '';
    setBrowserFields(res);
    if (!PROBES.has(path) && !isOwnHost(req.headers.host, host)) {
      sendProblem(res, 403, 'Forbidden', 'Use an IP address, a name without a dot, or the name in ADMIN_HOST.');
    } else if (register !== undefined && path === '/metrics') {
      void answerMetrics(req, res, register);
    } else if (site?.answers(path, req, res) !== true) {
      void answer(path, req, res, view);
    }
  });
  closeIdleConnections(server, maxConnections, crowded);
  // One address may have all connections: probes, scrapers and operators may come through one proxy.
  return hardenServer(server, { maxConnections, maxConnectionsPerAddress: 0 });
}

async function answer(path: string, req: IncomingMessage, res: ServerResponse, view: AdminView): Promise<void> {
  const endpoint = Object.hasOwn(ENDPOINTS, path) ? ENDPOINTS[path] : undefined;
  if (endpoint === undefined) {
    sendProblem(res, 404, 'Not found');
  } else if (!isRead(req)) {
    refuseMethod(res, 'GET, HEAD');
  } else {
    const { status, content } = endpoint(view);
    try {
      sendJson(res, status, content instanceof Promise ? await content : content);
    } catch {
      sendProblem(res, 503, 'No state', 'No process of the gateway has reported its state.');
    }
  }
}

async function answerMetrics(req: IncomingMessage, res: ServerResponse, register: MetricsSource): Promise<void> {
  if (!isRead(req)) {
    refuseMethod(res, 'GET, HEAD');
    return;
  }
  try {
    const { type, text } = await metricsPage(register, req.headers.accept);
    sendText(res, 200, type, text);
  } catch {
    sendProblem(res, 500, 'The metrics could not be collected');
  }
}

/** All metrics as text: OpenMetrics for clients that ask for it, as Prometheus does, and Prometheus' own format for all others. */
async function metricsPage(
  source: MetricsSource,
  accept = '',
): Promise<{ readonly type: string; readonly text: string }> {
  const register = typeof source === 'function' ? await source() : source;
  if (!accept.includes('application/openmetrics-text')) {
    return { type: register.contentType, text: await register.metrics() };
  }
  // In a copy of the registry: when asked for OpenMetrics, prom-client renames the counters for good.
  const open = new Registry<OpenMetricsContentType>();
  open.setContentType(OPEN_METRICS);
  for (const metric of await register.getMetricsAsJSON()) {
    const named = {
      ...metric,
      get() {
        return { ...metric, name: this.name };
      },
    };
    open.registerMetric(named as never);
  }
  return { type: OPEN_METRICS, text: await open.metrics() };
}

/**
 * Whether the `Host` of a request belongs to this listener. The name of a public web page can resolve to a private address (DNS
 * rebinding), and the page would then have the same origin as this listener. So names that can be registered are rejected. Accepted are
 * addresses, names without a dot (localhost, the name of a container), `.localhost`, `.internal`, and the configured name.
 */
function isOwnHost(field: string | undefined, adminHost: string): boolean {
  if (field === undefined || !/^[\w.:[\]-]+$/.test(field)) return false;
  const url = URL.parse(`http://${field}/`);
  if (url === null) return false;
  const name = url.hostname.replace(/\.$/, '');
  if (isIP(name.replace(/^\[|\]$/g, '')) !== 0) return true;
  return !name.includes('.') || /\.(localhost|internal)$/.test(name) || name === adminHost.toLowerCase();
}
