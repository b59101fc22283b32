import { type CircuitBreaker, type GatewayProblem, headlineOf, type RouteStatus } from '../../index.ts';
import { type HostedApp, proxiesOf } from '../hosted-app.ts';

/** Facts about the process. */
interface ProcessFacts {
  readonly phase: string;
  readonly uptimeMs: number;
  readonly problems: readonly GatewayProblem[];
}

/** The content of `/status` for one process. */
export function statusReport(hosted: HostedApp, { phase, uptimeMs, problems }: ProcessFacts): object {
  const { limiter, breaker, router } = hosted;
  return {
    phase,
    headline: headlineOf(phase, problems),
    problems,
    uptimeMs,
    limiter: limiter && { mode: limiter.mode },
    circuit: breaker && circuitOf(breaker),
    routes: router?.routes().map(routeOf),
    backends: proxiesOf(hosted).flatMap((proxy) => proxy.status().map((row) => ({ service: proxy.name, ...row }))),
  };
}

const circuitOf = (breaker: CircuitBreaker) => ({ state: breaker.state, retryAfterMs: breaker.retryAfterMs() });

const routeOf = ({ name, circuit, limiters }: RouteStatus) => ({
  route: name,
  circuit: circuit && circuitOf(circuit),
  limiters: limiters.map((one) => ({ name: one.name, mode: one.mode })),
});
