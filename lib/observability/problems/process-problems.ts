import { CAUSES, type Cause } from '../../core/causes.ts';
import type { DiscoveryFailedEvent } from '../../core/events.ts';
import { subscribe } from '../../core/gateway-events.ts';
import { sum } from '../metrics/traffic-totals.ts';
import type { Finding, ProblemKind } from './problem-kind.ts';
import { duration, LEAST_REQUESTS, percent, Readings, RecentCounts } from './recent.ts';
import type { TrafficSources } from './traffic-sources.ts';

/** Milliseconds without a report after which a shortage is over. The proxy reports one every ten seconds. */
const SHORTAGE_MS = 15_000;
/** Milliseconds of a blocked event loop for a notice, and for a warning. Garbage collection and a busy machine block it for less. */
const NOTICED_MS = 300;
const BLOCKED_MS = 1_000;
/** Milliseconds for which an overload is shown after its end, because it often begins again. */
const SHEDDING_MS = 5_000;
/** The share of rejected requests from which the problem is critical. */
const NEARLY_ALL = 0.9;
/** The share of errors from which they are a problem. */
const NOTICEABLE = 0.01;
const LEAST_ERRORS = 2;

const resources: ProblemKind<TrafficSources> = {
  problem: 'gateway_resources',
  isState: true,
  severity: 'critical',
  meaning:
    'The process or the machine lacks file descriptors, ports or memory: requests get 503 (`gateway_resources`), and no backend is blamed.',
  nextStep: 'Raise the limit of open files (`ulimit -n`, LimitNOFILE of systemd), or lower MAX_CONNECTIONS.',
  detector({ events }) {
    const seen = new Map<string, { readonly at: number; readonly description: string }>();
    const close = subscribe(events, {
      resourceShortage: ({ code, description }) => seen.set(code, { at: Date.now(), description }),
    });
    return {
      close,
      *look() {
        for (const [code, { at, description }] of seen) {
          if (Math.abs(Date.now() - at) > SHORTAGE_MS) seen.delete(code);
          else {
            const text = `Requests get 503, since the gateway could not connect to a backend: ${description}.`;
            yield {
              subject: code,
              title: `the gateway has run out of what connections need (${code})`,
              text,
              nextStep: nextStepFor(code),
            };
          }
        }
      },
    };
  },
};

const connectionsFull: ProblemKind<TrafficSources> = {
  problem: 'connections_full',
  severity: 'warning',
  meaning:
    'A listener has all the connections that `MAX_CONNECTIONS` (`maxConnections` of `hardenServer()`) allows. It closes new ones at once, without a response (`connection_limit`). ' +
    'Critical when these are at least nine of ten, and at least 20, of all requests and closed connections of ten seconds.',
  nextStep:
    'Raise MAX_CONNECTIONS (with WORKERS, each process has an equal part) and the limit of open files, or use more machines. If few addresses hold most of them, lower ' +
    'MAX_CONNECTIONS_PER_ADDRESS; if most are idle, HEAD_TIMEOUT_MS and KEEP_ALIVE_TIMEOUT_MS. The listener of HTTP_REDIRECT_PORT always takes 128.',
  detector({ events, metrics }) {
    const readings = new Readings(() => sumOf(metrics.totals()));
    const closed = new RecentCounts();
    const close = subscribe(events, {
      clientRefused({ cause, port = '', detail = '' }) {
        if (cause === 'connection_limit') closed.add(String(port), detail);
      },
    });
    return {
      close,
      *look() {
        const { before, now } = readings.next();
        for (const [port, counts] of closed.recent()) {
          const count = [...counts.values()].reduce((all, one) => all + one, 0);
          const most = count >= LEAST_REQUESTS && count >= NEARLY_ALL * (count + now - before);
          const where = port === '' ? '' : ` of port ${port}`;
          yield {
            subject: port,
            title: `all connections${where} that MAX_CONNECTIONS allows are in use`,
            text: `All connections${where} are in use: ${count} new ones were closed at once in the last 10 s, without a response. ${[...counts.keys()].at(-1)}`,
            severity: most ? 'critical' : 'warning',
          };
        }
        closed.turn();
      },
    };
  },
};

/** Next steps for shortages that a higher limit of open files does not solve. */
function nextStepFor(code: string): string | undefined {
  if (code === 'EADDRNOTAVAIL')
    return 'Widen the range of local ports (net.ipv4.ip_local_port_range), or use more backends or addresses.';
  if (code === 'ENOBUFS' || code === 'ENOMEM') return 'Give the machine more memory, or lower MAX_CONNECTIONS.';
  return undefined;
}

const shedding: ProblemKind<TrafficSources> = {
  problem: 'load_shedding',
  severity: 'warning',
  meaning:
    'The process has more requests than it can serve: its event loop runs late, and `loadShedding()` rejects a part of them with 503 (`load_shed`). ' +
    'Critical when it rejects at least 90 % of the requests of ten seconds, and these are at least 20.',
  nextStep:
    'Use more processes (WORKERS) or more machines; if the load is unusual, lower RATE_LIMIT_MAX for the clients that cause it.',
  detector({ events, metrics, proxies }) {
    const readings = new Readings(() => metrics.totals());
    let isShedding = false;
    let at = Number.NEGATIVE_INFINITY;
    let delayMs = 0;
    const close = subscribe(events, {
      loadSheddingChange(event) {
        isShedding = event.isShedding;
        at = Date.now();
        if (event.isShedding) delayMs = event.delayMs;
      },
    });
    return {
      close,
      *look() {
        const { before, now } = readings.next();
        if (!isShedding && Math.abs(Date.now() - at) > SHEDDING_MS) return;
        // Without those in progress, a slow backend would look like an overload that rejects everything.
        const inProgress = proxies.reduce((all, proxy) => all + proxy.load().inFlight, 0);
        const requests = sumOf(now) - sumOf(before) + inProgress;
        const rejected = (now.causes.get('load_shed') ?? 0) - (before.causes.get('load_shed') ?? 0);
        const text =
          `More requests come than the process can serve: its event loop ran ${duration(delayMs)} late, ` +
          `and ${rejected} of ${requests} requests got 503 in the last 10 s.`;
        const isNearlyAll = requests >= LEAST_REQUESTS && rejected >= NEARLY_ALL * requests;
        const part = isNearlyAll ? 'nearly all' : 'a part';
        const title = `the gateway is overloaded and rejects ${part} of the requests`;
        yield { subject: '', title, text, severity: isNearlyAll ? 'critical' : 'warning' };
      },
    };
  },
};

const dns: ProblemKind<TrafficSources> = {
  problem: 'dns_failing',
  isState: true,
  severity: 'warning',
  meaning:
    'The DNS lookup of a `dns://` or `srv://` name of BACKENDS fails. Backends that were found before stay in use.',
  nextStep:
    'Check the name (BACKENDS, or `backends` of its service), and the name servers (DNS_SERVERS) with `dig` from this machine.',
  detector({ events }) {
    // Several of one name: a service that replaces another one of the same name may fail before that ends.
    const failing: DiscoveryFailedEvent[] = [];
    const ended = (event: Pick<DiscoveryFailedEvent, 'service' | 'name'>): void => {
      const index = failing.findIndex(({ service, name }) => service === event.service && name === event.name);
      if (index !== -1) failing.splice(index, 1);
    };
    const close = subscribe(events, {
      discoveryFailed(event) {
        if (event.again) ended(event);
        failing.push(event);
      },
      discoveryRecovered: ended,
    });
    return {
      close,
      *look() {
        for (const { name, error, backends } of failing) {
          const known =
            backends === 0
              ? 'no backend of it is known'
              : `${backends} backends of it are known from before, and stay in use`;
          yield {
            subject: name,
            title: `the DNS lookup of ${name} fails`,
            text: `The DNS lookup of ${name} fails (${error.message}): ${known}.`,
          };
        }
      },
    };
  },
};

const eventLoop: ProblemKind<TrafficSources> = {
  problem: 'event_loop_blocked',
  severity: 'warning',
  meaning:
    'The event loop of a process was blocked for at least 1 s in the last 10 to 20 s: all its requests had to wait. From 300 ms on it is a notice.',
  nextStep:
    'Look for code of your own that computes or reads files in one go (`node --cpu-prof`); if there is none, give the machine more CPU.',
  detector: ({ load }) => ({
    *look() {
      const { pid, loopMaxMs } = load.loop();
      if (loopMaxMs < NOTICED_MS) return;
      const text = `The event loop of process ${pid} stood still for ${duration(loopMaxMs)}: all its requests waited so long.`;
      const severity = loopMaxMs < BLOCKED_MS ? 'notice' : 'warning';
      yield { subject: '', title: `the event loop stood still for ${duration(loopMaxMs)}`, text, severity };
    },
  }),
};

const ownErrors: ProblemKind<TrafficSources> = {
  problem: 'gateway_errors',
  severity: 'warning',
  meaning: 'In ten seconds, at least 1 % of the requests got a 5xx response that the gateway itself caused.',
  nextStep: 'Look up the cause in docs/errors.md, and the requests in the access log (`cause`).',
  detector({ metrics }) {
    const readings = new Readings(() => metrics.totals());
    return {
      *look(): Iterable<Finding> {
        const { before, now } = readings.next();
        const requests = sumOf(now) - sumOf(before);
        const causes: [string, number][] = [];
        for (const [cause, count] of now.causes) {
          const { status = 0, blame = 'client' } = CAUSES[cause as Cause] ?? {};
          // These have their own kinds of problem.
          if (status < 500 || blame !== 'gateway' || cause === 'gateway_resources' || cause === 'load_shed') continue;
          const recent = count - (before.causes.get(cause) ?? 0);
          if (recent > 0) causes.push([cause, recent]);
        }
        const errors = causes.reduce((all, [, count]) => all + count, 0);
        if (errors < LEAST_ERRORS || errors < NOTICEABLE * requests) return;
        const [worst] = causes.sort(([, a], [, b]) => b - a) as [[string, number]];
        const list = causes.map(([cause, count]) => `${count} ${cause}`).join(', ');
        yield {
          subject: '',
          title: `the gateway fails ${percent(errors, requests)} of the requests (${worst[0]})`,
          text: `The gateway itself failed ${errors} of ${requests} requests in the last 10 s: ${list}.`,
        };
      },
    };
  },
};

const sumOf = ({ responses }: ReturnType<TrafficSources['metrics']['totals']>): number =>
  Object.values(responses).reduce((all, one) => all + sum(one), 0);

/** Codes of warnings with their own kind of problem. */
const ELSEWHERE = /^WARN_EXPRESSWAY_(?:TRUST_PROXY|RESOURCES|MAX_KEYS)/;

const keysFull: ProblemKind<TrafficSources> = {
  problem: 'rate_limit_keys_full',
  severity: 'warning',
  meaning:
    'A limiter that counts in memory has reached `maxKeys` clients: new clients share the limits of others until it forgets some.',
  nextStep:
    'Count in Redis (REDIS_URL). If most addresses come from one network, deny it (RATE_LIMIT_DENY). In an app of your own, raise `maxKeys`.',
  detector: ({ warnings }) => ({
    *look() {
      for (const { code, message } of warnings.recent()) {
        if (code === 'WARN_EXPRESSWAY_MAX_KEYS') {
          yield { subject: '', title: 'a rate limiter has no room for more clients', text: message };
        }
      }
    },
  }),
};

const others: ProblemKind<TrafficSources> = {
  problem: 'process_warning',
  severity: 'notice',
  meaning:
    'Node or the suite has emitted a process warning in the last ten minutes. The log of the gateway has it as a line of its own.',
  nextStep: 'Look up its code: those of the suite are in docs/errors.md, others in the documentation of Node.',
  detector: ({ warnings }) => ({
    *look() {
      for (const { code, message } of warnings.recent()) {
        if (ELSEWHERE.test(code)) continue;
        yield { subject: code, title: `process warning ${code}`, text: `${code}: ${message}` };
      }
    },
  }),
};

/** The worst first. */
export const PROCESS_PROBLEMS: readonly ProblemKind<TrafficSources>[] = [
  resources,
  connectionsFull,
  shedding,
  ownErrors,
  dns,
  eventLoop,
  keysFull,
  others,
];
