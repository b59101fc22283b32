import { observabilityDefaults } from '../observability.ts';
import type { StatusBreaker } from '../status/status-sources.ts';
import type { Finding, ProblemKind } from './problem-kind.ts';
import { LEAST_REQUESTS, nextTrial, percent, Readings } from './recent.ts';
import type { TrafficSources } from './traffic-sources.ts';

/** The share of errors from which a route has a problem. */
const TROUBLE = 0.05;

const failing: ProblemKind<TrafficSources> = {
  problem: 'route_errors',
  severity: 'warning',
  meaning:
    'At least 5 % of the requests of a route got 5xx, in ten seconds with at least 20 requests. A response that the route itself declares (`respond`) is none. Without routes, see the problems of the backends.',
  nextStep:
    'Look at the backends of its service, in the problems beside this one, and at its requests in the access log (fields `route` and `cause`).',
  detector({ metrics }) {
    const readings = new Readings(() => metrics.totals().routes);
    return {
      *look(): Iterable<Finding> {
        const { before, now } = readings.next();
        const found: { finding: Finding; errors: number }[] = [];
        for (const [route, total] of now) {
          if (route === observabilityDefaults.route) continue;
          const known = before.get(route);
          const requests = total.requests - (known?.requests ?? 0);
          const errors = total.errors - (known?.errors ?? 0);
          if (requests < LEAST_REQUESTS || errors < TROUBLE * requests) continue;
          const finding = {
            subject: route,
            title: `route ${route} fails ${percent(errors, requests)} of its requests`,
            text: `Route ${route} responded with 5xx to ${errors} of ${requests} requests in the last 10 s.`,
          };
          found.push({ finding, errors });
        }
        // The worst one first: the headline names it.
        yield* found.sort((a, b) => b.errors - a.errors).map(({ finding }) => finding);
      },
    };
  },
};

const circuitOpen: ProblemKind<TrafficSources> = {
  problem: 'route_circuit_open',
  isState: true,
  severity: 'warning',
  meaning: 'The circuit breaker of one route (its option `circuit`) is open: the requests of this route get 503.',
  nextStep:
    'Look at the backends of its service, in the problems beside this one: the circuit closes by itself when requests succeed.',
  detector: ({ routeBreakers }) => ({
    *look(): Iterable<Finding> {
      for (const { name, state, retryAfterMs } of routeBreakers.map(seen)) {
        if (state !== 'open' && state !== 'isolated') continue;
        const wait = state === 'open' ? `, ${nextTrial(retryAfterMs)}` : '';
        yield {
          subject: name,
          title: `route ${name} rejects its requests (its circuit is ${state})`,
          text: `Too many requests of route ${name} failed: all get 503 without being tried${wait}.`,
        };
      }
    },
  }),
};

const seen = (breaker: StatusBreaker) => ({
  name: breaker.name,
  state: breaker.state,
  retryAfterMs: breaker.retryAfterMs(),
});

export const ROUTE_PROBLEMS: readonly ProblemKind<TrafficSources>[] = [circuitOpen, failing];
