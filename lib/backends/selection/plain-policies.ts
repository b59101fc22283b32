import { leastLatency } from './least-latency.ts';
import { leastRequests } from './least-requests.ts';
import { roundRobin } from './round-robin.ts';
import { weightedRoundRobin } from './weighted-round-robin.ts';

/** The policies that do not look at the request: each may also be the fallback of `sticky`. */
export const plainPolicies = [roundRobin, weightedRoundRobin, leastRequests, leastLatency] as const;

/** Name of a policy that does not look at the request. */
export type SimplePolicyName = (typeof plainPolicies)[number]['name'];
