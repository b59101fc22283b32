import type { Cause } from '../../core/causes.ts';
import { backendKey } from '../metrics/counts.ts';
import type { StatusBackend, StatusProxy } from '../status/status-sources.ts';
import type { Finding, ProblemKind } from './problem-kind.ts';
import { duration, nextTrial, percent, Readings } from './recent.ts';
import { type SlowBackend, SlowBackends } from './slow-backends.ts';
import type { TrafficSources } from './traffic-sources.ts';

/** What to do about a backend that fails with a cause. */
const NEXT_STEPS: Readonly<Partial<Record<Cause, string>>> = {
  connection_refused: 'Start its process, or correct its address (BACKENDS, or `backends` of its service).',
  dns_error: 'Correct its host name (BACKENDS, or `backends` of its service), or check the name servers (DNS_SERVERS).',
  destination_ip_unroutable: 'Check the network between gateway and backend.',
  connection_timeout: 'Check firewalls between gateway and backend, or raise CONNECT_TIMEOUT_MS.',
  http_response_timeout: 'Find out why the backend takes so long, or raise RESPONSE_TIMEOUT_MS.',
  connection_read_timeout: 'Find out why the backend stops in the middle of responses, or raise IDLE_TIMEOUT_MS.',
  tls_certificate_error: 'Renew the certificate of the backend, or name its authority in BACKEND_CA.',
  tls_protocol_error:
    'Check whether the backend speaks TLS at this port (https:// or http:// in BACKENDS), and accepts the certificate of the gateway (BACKEND_CERT).',
  connection_terminated:
    'Look into the log of the backend: it closes connections without a response. If it speaks TLS at this port, it needs https:// in BACKENDS.',
  http_protocol_error:
    'Check what the backend speaks: HTTP/1.1, or HTTP/2 as gRPC does (BACKEND_PROTOCOL, or `protocol` of its service), or TLS (https:// in BACKENDS).',
};
const SEE_ITS_LOG = 'Look into the log of the backend: its process runs, but these requests fail in it.';

const RAISE_WEIGHT = 'Give a backend a weight above 0 (BACKENDS, or `backends` of its service).';

const isCause = (text: string): text is Cause => Object.hasOwn(NEXT_STEPS, text);

const nextStepFor = (reason: string): string => (isCause(reason) ? NEXT_STEPS[reason] : undefined) ?? SEE_ITS_LOG;

/** `127.0.0.1:8081`, as on the status page. */
const short = (backend: string): string => backend.replace(/^https?:\/\//, '');

const statusesOf = ({ proxies }: TrafficSources): { readonly service: string; readonly status: StatusBackend }[] =>
  proxies.flatMap((proxy) => proxy.status().map((status) => ({ service: proxy.name, status })));

/** Why a backend gets no requests; `undefined` when it gets some, or when an operator or its weight keeps it out. */
function whyOut({ available, held, weight, circuit, health, retryAfterMs }: StatusBackend): string | undefined {
  if (held !== undefined || weight === 0) return undefined;
  // Also when its time is over: nothing says that the backend works again until a trial has succeeded.
  if (circuit === 'open') return `its circuit is open, ${nextTrial(retryAfterMs)}`;
  if (available) return undefined;
  if (health === 'unhealthy') return 'it fails its health checks';
  // Half-open, full, or resting after `Retry-After`: that ends by itself.
  return undefined;
}

/** Whether it takes requests. A request that would only be a trial does not count. */
const takesRequests = ({ available, circuit }: StatusBackend): boolean => available && circuit !== 'open';

/** Why a backend takes no requests. */
function whyNone(one: StatusBackend, lastError: string | undefined): string {
  if (one.held !== undefined) return `${one.held} by an operator`;
  if (one.weight === 0) return 'its weight is 0';
  return `${whyOut(one) ?? 'busy'}${lastError === undefined ? '' : ` (${lastError})`}`;
}

const allOut: ProblemKind<TrafficSources> = {
  problem: 'backends_unavailable',
  isState: true,
  severity: 'critical',
  meaning:
    'No backend of a service takes requests: all are out or drained or have weight 0, or the list is empty. Clients get 503. It is only a warning when another service has backends that take requests.',
  nextStep: 'Start or restore a backend.',
  detector: (sources) => ({
    *look() {
      const isUp = (proxy: StatusProxy) => proxy.status().some(takesRequests);
      const isPart = sources.proxies.some(isUp);
      for (const proxy of sources.proxies) {
        const all = proxy.status();
        if (all.some(takesRequests)) continue;
        if (
          all.length > 0 &&
          all.every((one) => whyOut(one) === undefined && one.held === undefined && one.weight > 0)
        ) {
          continue;
        }
        const of = sources.proxies.length > 1 ? ` of ${proxy.name}` : '';
        const reasons = all.slice(0, 3).map((one) => {
          return `${one.backend}: ${whyNone(one, sources.errors.last(proxy.name, one.backend)?.text)}`;
        });
        const text = all.length === 0 ? 'There is no backend.' : `${reasons.join('; ')}.`;
        const failed = all.find((one) => whyOut(one) !== undefined);
        const last = failed && sources.errors.last(proxy.name, failed.backend);
        const isWeight = all.length > 0 && all.every(({ held, weight }) => held === undefined && weight === 0);
        yield {
          subject: proxy.name,
          title: `no backend${of} takes requests`,
          text: `No backend${of} takes requests: clients get 503. ${text}`,
          severity: isPart ? 'warning' : 'critical',
          nextStep: isWeight ? RAISE_WEIGHT : last && nextStepFor(causeIn(last.text)),
        };
      }
    },
  }),
};

/** `connection_refused: connect ECONNREFUSED …` begins with the cause. */
const causeIn = (text: string): string => text.split(':', 1)[0] ?? '';

const out: ProblemKind<TrafficSources> = {
  problem: 'backend_unavailable',
  isState: true,
  severity: 'warning',
  meaning:
    'One backend gets no requests: its circuit is open, or it fails its health checks. The others get its share.',
  nextStep: SEE_ITS_LOG,
  detector: (sources) => ({
    *look() {
      for (const { service, status } of statusesOf(sources)) {
        const why = whyOut(status);
        if (why === undefined) continue;
        const last = sources.errors.last(service, status.backend);
        yield {
          subject: status.backend,
          title: `${short(status.backend)} is out`,
          text: `Backend ${status.backend} gets no requests: ${why}${last === undefined ? '' : ` (${last.text})`}.`,
          nextStep: last === undefined ? undefined : nextStepFor(causeIn(last.text)),
        };
      }
    },
  }),
};

/** Errors are a problem from this share on, and from this number on. */
const NOTICEABLE = 0.01;
const LEAST_ERRORS = 2;

const failing: ProblemKind<TrafficSources> = {
  problem: 'backend_errors',
  severity: 'warning',
  meaning: 'A backend responds with 500 or more, or its requests fail, in at least 1 % of the requests of ten seconds.',
  nextStep: SEE_ITS_LOG,
  detector(sources) {
    const readings = new Readings(() => sources.metrics.totals().backends);
    return {
      *look() {
        const { before, now } = readings.next();
        for (const [key, reasons] of sources.failedAttempts.recent()) {
          const total = now.get(key);
          const errors = [...reasons.values()].reduce((all, one) => all + one, 0);
          if (total === undefined || errors < LEAST_ERRORS) continue;
          const all = Math.max(errors, total.requests - (before.get(key)?.requests ?? 0));
          if (errors < NOTICEABLE * all) continue;
          const worst = [...reasons].sort(([, a], [, b]) => b - a);
          const what = worst.map(([reason, count]) =>
            /^(?:\d|grpc-status)/.test(reason) ? `responded with ${reason} to ${count}` : `failed ${count} (${reason})`,
          );
          yield {
            subject: total.backend,
            title: `${short(total.backend)} fails ${percent(errors, all)} of its requests (${worst[0]?.[0]})`,
            text: `Backend ${total.backend} ${what.join(' and ')} of ${all} requests in the last 10 s.`,
            nextStep: nextStepFor(worst[0]?.[0] ?? ''),
          };
        }
      },
    };
  },
};

const COMPARED: Readonly<Record<SlowBackend['than']['what'], (ms: string) => string>> = {
  past: (ms) => `95 % usually take up to ${ms}`,
  peers: (ms) => `the other backends take up to ${ms} for 95 %`,
  timeout: (ms) => `requests are given up after ${ms} (RESPONSE_TIMEOUT_MS)`,
  silent: (ms) => `95 % usually take up to ${ms}`,
};

const slow: ProblemKind<TrafficSources> = {
  problem: 'backend_slow',
  severity: 'warning',
  meaning:
    'A backend is slow to start its responses, or has stopped responding. Slow means that too many of its latest responses take three times, and 100 ms, longer than usual. ' +
    'Usual is what 95 % of its own responses took in the last minutes, or those of the other backends. Half of RESPONSE_TIMEOUT_MS is slow as well.',
  nextStep:
    'Look at the load of the backend and at what it waits for (database, other services). Drain it, or use LOAD_BALANCING=latency, to send its requests elsewhere.',
  detector(sources) {
    const readings = new Readings(() => sources.metrics.totals().backends);
    const backends = new SlowBackends();
    return {
      *look(): Iterable<Finding> {
        const { before, lately, now } = readings.next();
        const inFlight = new Map(
          statusesOf(sources).map(({ service, status }) => [backendKey(service, status.backend), status.inFlight]),
        );
        const timeoutMs = (name: string) => sources.proxies.find((proxy) => proxy.name === name)?.responseTimeoutMs;
        for (const { backend, slowShare, slowMs, responses, than } of backends.look(
          before,
          lately,
          now,
          inFlight,
          timeoutMs,
        )) {
          const compared = COMPARED[than.what](duration(than.ms));
          const fact =
            slowMs === undefined
              ? `has not responded to any of ${responses} requests for more than 6 s`
              : `took ${duration(slowMs)} or more to respond to ${percent(slowShare, 1)} of its latest ${responses} requests`;
          yield {
            subject: backend,
            title: slowMs === undefined ? `${short(backend)} does not respond` : `${short(backend)} is slow`,
            text: `Backend ${backend} ${fact}: ${compared}.`,
          };
        }
      },
    };
  },
};

const routeCircuit: ProblemKind<TrafficSources> = {
  problem: 'circuit_open',
  isState: true,
  severity: 'critical',
  meaning: 'A circuit breaker in front of a whole route is open: all its requests get 503.',
  nextStep:
    'Look at the backends behind it, in the problems beside this one: it closes by itself when requests succeed.',
  detector: ({ breakers }) => ({
    *look() {
      for (const breaker of breakers) {
        if (breaker.state !== 'open' && breaker.state !== 'isolated') continue;
        const wait = breaker.state === 'open' ? `, ${nextTrial(breaker.retryAfterMs())}` : '';
        const text = `Too many requests failed: all get 503 without being tried${wait}.`;
        yield { subject: breaker.name, title: `the circuit "${breaker.name}" is ${breaker.state}`, text };
      }
    },
  }),
};

/** An operator keeps it out. The operator may have forgotten it. */
const heldBack: ProblemKind<TrafficSources> = {
  problem: 'backend_held',
  isState: true,
  severity: 'notice',
  meaning: 'An operator has drained or isolated a backend.',
  nextStep: 'Restore it when it is to get requests again.',
  detector: (sources) => ({
    *look() {
      for (const { status } of statusesOf(sources)) {
        if (status.held === undefined) continue;
        const title = `${short(status.backend)} is ${status.held}`;
        yield { subject: status.backend, title, text: `An operator has ${status.held} backend ${status.backend}.` };
      }
    },
  }),
};

/** The worst first. */
export const BACKEND_PROBLEMS: readonly ProblemKind<TrafficSources>[] = [
  allOut,
  routeCircuit,
  out,
  failing,
  slow,
  heldBack,
];
