import { isIP } from 'node:net';
import { GatewayError } from '../core/errors.ts';
import { shownValue } from '../core/shown-value.ts';

/**
 * Values of Express's `trust proxy` that are safe with limits by address: no proxy (`false`, 0), a number of proxies,
 * their addresses as IPs, CIDRs or one of Express's named ranges, or a function.
 */
export type TrustProxy = false | number | string | readonly string[] | ((address: string, hop: number) => boolean);

const NAMED_RANGES: readonly string[] = ['loopback', 'linklocal', 'uniquelocal'];

/**
 * Throws for a `trust proxy` value with which a limit by address has no effect, or that Express would misread.
 * `true` makes Express believe the leftmost address of `X-Forwarded-For`, which the client writes itself: each
 * request could then come from a new address (CVE-2026-3635 is that mistake in another framework).
 *
 * @throws {GatewayError} `ERR_EXPRESSWAY_TRUST_PROXY`
 */
export function assertTrustProxy(value: unknown): void {
  const error = trustProxyError(value);
  if (error !== undefined) throw error;
}

/** The error of `assertTrustProxy()`, for code that must not throw. */
export function trustProxyError(value: unknown): GatewayError | undefined {
  const problem = problemOf(value);
  return problem === undefined ? undefined : new GatewayError('ERR_EXPRESSWAY_TRUST_PROXY', `trust proxy ${problem}`);
}

function problemOf(value: unknown): string | undefined {
  switch (typeof value) {
    case 'undefined':
    case 'function':
      return undefined;
    case 'boolean':
      return value ? TRUSTS_EVERYBODY : undefined;
    case 'number':
      return Number.isSafeInteger(value) && value >= 0 ? undefined : `must count proxies from 0 up, got ${value}`;
    case 'string':
      return listProblem(value.split(','));
    default:
      return Array.isArray(value) ? listProblem(value) : `must be ${ALLOWED}, got ${shownValue(value)}`;
  }
}

const ALLOWED = 'false, a number of proxies, a list of IPs, CIDRs and named ranges, or a function';

const TRUSTS_EVERYBODY =
  'must not be true: the client could then write any address into X-Forwarded-For and be a new client with each ' +
  'request; give the number of proxies in front of this app, or their addresses';

function listProblem(items: readonly unknown[]): string | undefined {
  const wrong = items.filter((item) => typeof item !== 'string' || !isRange(item.trim()));
  if (wrong.length === 0) return undefined;
  // The values of an .env file are texts. Express would read "1" as the address 0.0.0.1, and "true" as an invalid address.
  return `has ${wrong.map((item) => shownValue(item)).join(', ')}, must be ${ALLOWED}`;
}

function isRange(text: string): boolean {
  if (NAMED_RANGES.includes(text)) return true;
  const slash = text.indexOf('/');
  const address = slash < 0 ? text : text.slice(0, slash);
  const version = isIP(address);
  if (version === 0 || address.includes('%')) return false;
  if (slash < 0) return true;
  const bits = text.slice(slash + 1);
  return /^[1-9]\d{0,2}$/.test(bits) && Number(bits) <= (version === 4 ? 32 : 128);
}
