import { policies } from '../../../backends/selection/policies.ts';
import type { HashBy, LoadBalancing, StickyOptions } from '../../../index.ts';
import {
  decimal,
  durationMs,
  durationMsOrZero,
  got,
  ofOneService,
  oneOf,
  onOrOff,
  optional,
  secret,
  section,
} from '../variable.ts';

export interface LoadBalancingConfig {
  readonly loadBalancing: LoadBalancing;
  readonly slowStartMs: number;
  readonly adaptiveConcurrency: boolean;
}

const TOKEN = /^[\w!#$%&'*+.^`|~-]+$/;

/** Accepts a text that matches; otherwise the error says what it must be. */
const matching =
  (pattern: RegExp, mustBe: string) =>
  (text: string): string => {
    if (pattern.test(text)) return text;
    throw new Error(`must be ${mustBe}, ${got(text)}`);
  };

export const loadBalancing = section(
  'Load balancing',
  ofOneService({
    LOAD_BALANCING: {
      text: `How a backend is picked: ${policies.map(({ name, brief }) => `${name} (${brief})`).join(', ')}.`,
      default: 'round-robin',
      read: oneOf(...policies.map(({ name }) => name)),
    },
    HASH_BY: {
      text: `Key of the policy hash: ip, header:X-Tenant, cookie:user or query:room (with names of your own). Requests without that header,
        cookie or parameter go round robin.`,
      default: 'ip',
      read: hashBy,
    },
    HASH_LOAD_FACTOR: {
      text: `Upper bound of a backend's requests in flight with hash, as a multiple of its even share, like 1.25; further requests go to another one. Empty is no bound, so that a client stays at its backend.`,
      read: optional(decimal({ from: 1 })),
    },
    STICKY_SECRET: {
      text: `Signs the cookies of sticky: at least 32 characters, the same on every gateway. "openssl rand -hex 32" makes one.`,
      read: optional(secret(32)),
      isSecret: true,
    },
    STICKY_COOKIE: {
      text: 'Name of that cookie.',
      default: 'expressway-sticky',
      read: matching(TOKEN, 'a cookie name'),
    },
    STICKY_SAME_SITE: {
      text: `SameSite of that cookie: lax, strict, or none for pages that other sites embed. With none the cookie is always Secure, as
        browsers require.`,
      default: 'lax',
      read: oneOf('lax', 'strict', 'none'),
    },
    STICKY_PATH: {
      text: 'Path of that cookie.',
      default: '/',
      read: matching(/^\/[\x21-\x3a\x3c-\x7e]*$/, 'a path like /shop, without ; and spaces'),
    },
    STICKY_DOMAIN: {
      text: 'Domain of that cookie, subdomains included. Empty: only the host of the request.',
      read: optional(matching(/^\.?[a-z0-9-]+(?:\.[a-z0-9-]+)*$/i, 'a domain like example.com')),
    },
    STICKY_MAX_AGE_MS: {
      text: `Max-Age of that cookie, in milliseconds, counted from when the client gets it; then the client may get another backend.
        Empty: until the session of the browser ends.`,
      read: optional(durationMs),
    },
    STICKY_PARTITIONED: {
      text: `Whether an embedded page has such a cookie for each site that embeds it (Partitioned, CHIPS): off or on. With on the cookie
        is always Secure.`,
      default: 'off',
      read: onOrOff,
    },
    SLOW_START_MS: {
      text: `Time in which the share of a backend that was added, or came back, grows from a tenth to the whole, in milliseconds; 0 is at
        once.`,
      default: '0',
      read: durationMsOrZero,
    },
    ADAPTIVE_CONCURRENCY: {
      text: `Whether each backend gets a limit of requests that follows its latency: off or on. With on, an overloaded backend gets fewer
        requests; what it cannot take goes to another one, or gets 503.`,
      default: 'off',
      read: onOrOff,
    },
  }),
  (read): LoadBalancingConfig => {
    const { LOAD_BALANCING: policy } = read;
    const hash = { by: read.HASH_BY, loadFactor: read.HASH_LOAD_FACTOR ?? Number.POSITIVE_INFINITY };
    const sticky: Omit<StickyOptions, 'policy'> = {
      secret: read.STICKY_SECRET ?? '',
      cookie: read.STICKY_COOKIE,
      sameSite: read.STICKY_SAME_SITE,
      path: read.STICKY_PATH,
      ...(read.STICKY_DOMAIN === undefined ? {} : { domain: read.STICKY_DOMAIN }),
      ...(read.STICKY_MAX_AGE_MS === undefined ? {} : { maxAgeMs: read.STICKY_MAX_AGE_MS }),
      partitioned: read.STICKY_PARTITIONED,
    };
    return {
      loadBalancing: policy === 'hash' ? { policy, ...hash } : policy === 'sticky' ? { policy, ...sticky } : policy,
      slowStartMs: read.SLOW_START_MS,
      adaptiveConcurrency: read.ADAPTIVE_CONCURRENCY,
    };
  },
  (given) =>
    given.LOAD_BALANCING === 'sticky' && given.STICKY_SECRET === undefined
      ? ['LOAD_BALANCING: sticky needs a STICKY_SECRET']
      : [],
);

/** Key of the policy `hash`: `ip`, or the name of a header, cookie or query parameter. */
function hashBy(text: string): HashBy {
  if (text === 'ip') return text;
  const [, kind, name = ''] = /^(header|cookie|query):(.+)$/.exec(text) ?? [];
  if (kind === 'query') return { query: name };
  if (kind === 'header' && TOKEN.test(name)) return { header: name };
  if (kind === 'cookie' && TOKEN.test(name)) return { cookie: name };
  throw new Error(`must be ip, header:<name>, cookie:<name> or query:<name>, ${got(text)}`);
}
