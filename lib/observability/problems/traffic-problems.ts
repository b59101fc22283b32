import { BACKEND_PROBLEMS } from './backend-problems.ts';
import { CLIENT_PROBLEMS } from './client-problems.ts';
import { LIMITER_PROBLEMS } from './limiter-problems.ts';
import type { ProblemKind } from './problem-kind.ts';
import { PROCESS_PROBLEMS } from './process-problems.ts';
import { ROUTE_PROBLEMS } from './route-problems.ts';
import type { TrafficSources } from './traffic-sources.ts';

/** The registry of problems of a process that serves traffic. Within one severity, the first is the headline. */
export const TRAFFIC_PROBLEMS: readonly ProblemKind<TrafficSources>[] = [
  ...ROUTE_PROBLEMS,
  ...BACKEND_PROBLEMS,
  ...LIMITER_PROBLEMS,
  ...CLIENT_PROBLEMS,
  ...PROCESS_PROBLEMS,
];
