import type { Check } from '../../core/options.ts';

/** How much of a quota is taken from Redis ahead. */
export interface LeaseOptions {
  /**
   * The part of what remains of a client's quota that a gateway takes at most in one trip, for requests that will come:
   * over 0, up to 0.5. Default 0.25. Two fifths of that part of the whole limit may be taken also where it is more. For a
   * client that sends more than it may, up to that part of the whole limit, 50 at most, may be taken before it is there.
   */
  share?: number | undefined;
}

export const LEASE_DEFAULTS = Object.freeze({ share: 0.25 });

const LARGEST_SHARE = 0.5;

export const leaseCheck: Check = (value) => {
  if (typeof value === 'boolean') return undefined;
  const problem = `must be true, false or { share } with a share over 0, up to ${LARGEST_SHARE}`;
  if (typeof value !== 'object' || value === null || Object.keys(value).some((name) => name !== 'share'))
    return problem;
  const { share = LEASE_DEFAULTS.share } = value as LeaseOptions;
  return typeof share === 'number' && share > 0 && share <= LARGEST_SHARE ? undefined : problem;
};

/** Of options that `leaseCheck` has passed; 0 without leases. */
export const leaseShare = (lease: boolean | LeaseOptions | undefined): number => {
  if (lease === undefined || lease === false) return 0;
  return (lease === true ? undefined : lease.share) ?? LEASE_DEFAULTS.share;
};
