import type { Exchange } from '../../core/exchange.ts';
import { notPromise } from '../../core/http.ts';
import { type Check, described, group, type JsonSchema, withoutUndefined } from '../../core/options.ts';
import { thrown, warn } from '../../core/warnings.ts';
import type { SimplePolicyName } from './plain-policies.ts';
import { type PolicyOptions, policies } from './policies.ts';
import { RoundRobin } from './round-robin.ts';
import { type BackendView, isCandidate, type PolicyEntry, type SelectionPolicy } from './selection-policy.ts';

/** How a backend is picked: the name of a policy, a policy with its options, or a policy of your own. */
export type LoadBalancing = SimplePolicyName | 'hash' | PolicyOptions | SelectionPolicy;

/** Checks the option `loadBalancing`. */
export const loadBalancing: Check = described((value) => {
  if (isPolicy(value)) return undefined;
  const entry = entryOf(value);
  if (entry === undefined) return `must be ${policies.map(example).join(', ')}, or an object with a select() method`;
  if (typeof value === 'string') {
    return entry.required === undefined ? undefined : [`needs a ${entry.required}: ${example(entry)}`];
  }
  const { policy: _name, ...given } = value as PolicyOptions;
  return [...(group(entry.defaults, entry.checks)(given) ?? []), ...(entry.problems?.(given) ?? [])];
}, schema());

function schema(): JsonSchema {
  const names = policies.filter(({ required }: PolicyEntry) => required === undefined).map(({ name }) => name);
  const objects = policies.map(({ name, summary, defaults, checks, required }: PolicyEntry) => {
    const { properties } = group(defaults, checks).schema as { properties: object };
    const needed = required === undefined ? ['policy'] : ['policy', required];
    return {
      type: 'object',
      properties: { policy: { const: name, description: summary }, ...properties },
      required: needed,
      additionalProperties: false,
    };
  });
  return { anyOf: [{ enum: names }, ...objects] };
}

/** @param value What {@link loadBalancing} accepts. */
export function selectionPolicy(value: LoadBalancing): SelectionPolicy {
  if (isPolicy(value)) return new CustomPolicyGuard(value);
  const { policy: _name, ...given } = typeof value === 'string' ? { policy: value } : value;
  const entry = entryOf(value) as PolicyEntry;
  return entry.make({ ...entry.defaults, ...withoutUndefined(given) });
}

function entryOf(value: unknown): PolicyEntry | undefined {
  const given = typeof value === 'string' ? value : (value as Partial<PolicyOptions> | null | undefined)?.policy;
  return policies.find(({ name }) => name === given);
}

const example = ({ name, required }: PolicyEntry): string =>
  required === undefined ? `'${name}'` : `{ policy: '${name}', ${required} }`;

function isPolicy(value: unknown): value is SelectionPolicy {
  return typeof value === 'object' && value !== null && typeof (value as SelectionPolicy).select === 'function';
}

/** Milliseconds between two warnings, because a policy with a bug may fail for every request. */
const QUIET_MS = 60_000;

/**
 * Wraps a policy of the user. If that policy throws, or picks a backend that it must not pick, the request goes round robin and
 * the error becomes a process warning, because no caller could handle it.
 */
class CustomPolicyGuard implements SelectionPolicy {
  readonly observesLatency: boolean;
  readonly ignoresWeights: boolean;
  readonly #guarded: SelectionPolicy;
  readonly #instead = new RoundRobin();
  #warnedAt = Number.NEGATIVE_INFINITY;

  constructor(guarded: SelectionPolicy) {
    this.observesLatency = guarded.observesLatency === true;
    this.ignoresWeights = guarded.ignoresWeights === true;
    this.#guarded = guarded;
  }

  select<B extends BackendView>(backends: readonly B[], exchange: Exchange, tried: readonly B[]): B | undefined {
    try {
      const backend = notPromise(this.#guarded.select(backends, exchange, tried), 'select()');
      if (backend === undefined || (backends.includes(backend) && isCandidate(backend, tried))) return backend;
      this.#warn('select() did not return an available backend of the pool that is still untried');
    } catch (error) {
      this.#warn(error instanceof Error ? (error.stack ?? error.message) : thrown(error));
    }
    return this.#instead.select(backends, exchange, tried);
  }

  #warn(detail: string): void {
    const now = Date.now();
    if (now - this.#warnedAt < QUIET_MS && now >= this.#warnedAt) return;
    this.#warnedAt = now;
    warn('WARN_EXPRESSWAY_POLICY', 'The policy given as loadBalancing failed: requests go round robin instead', detail);
  }
}
