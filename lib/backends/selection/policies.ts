import { hash } from './hash.ts';
import { plainPolicies } from './plain-policies.ts';
import type { PolicyEntry } from './selection-policy.ts';
import { sticky } from './sticky-cookie.ts';

/** All policies that `loadBalancing` accepts by name. CONTRIBUTING.md says how to add one. */
export const policies = [...plainPolicies, hash, sticky] as const;

type OptionsOf<E> =
  E extends PolicyEntry<infer N, infer O, infer R> ? { policy: N } & Partial<O> & Pick<O, R & keyof O> : never;

/** The options of each policy, with its name as `policy`. */
export type PolicyOptions = OptionsOf<(typeof policies)[number]>;
