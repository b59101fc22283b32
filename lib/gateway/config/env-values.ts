import { Resolver } from 'node:dns';
import { isIP } from 'node:net';
import { availableParallelism } from 'node:os';
import { z } from 'zod';
import {
  assertAddressList,
  assertBackends,
  assertTrustProxy,
  type BackendOptions,
  type HashBy,
  OptionsError,
} from '../../index.ts';

/** A value for Express's `trust proxy` setting that is safe to use. */
export type TrustProxy = false | number | string[];

/** Node's timers hold 31 bits: a longer delay would fire at once. */
const MAX_DELAY_MS = 2 ** 31 - 1;

/** Far above any use, and far below where numbers lose their units. */
const MAX_COUNT = 1_000_000_000;

/**
 * Reads the text of one variable. `read` gives the value, or throws an `Error` whose message says what is wrong.
 */
function variable<T>(fallback: string, read: (text: string) => T) {
  return z
    .string()
    .default(fallback)
    .transform((text, context): T => {
      try {
        return read(text);
      } catch (error) {
        context.addIssue({ code: 'custom', message: (error as Error).message });
        return z.NEVER;
      }
    });
}

const got = (text: string): string => `got ${JSON.stringify(text)}`;

function readInteger(text: string, minimum: number, maximum: number): number {
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (value >= minimum && value <= maximum) return value;
  throw new Error(`must be an integer from ${minimum} to ${maximum}, ${got(text)}`);
}

export const integer = (fallback: number, minimum: number, maximum: number = MAX_COUNT) =>
  variable(String(fallback), (text) => readInteger(text, minimum, maximum));

/** Empty means nothing. */
export const optionalInteger = (minimum: number, maximum: number = MAX_COUNT) =>
  variable('', (text) => (text === '' ? undefined : readInteger(text, minimum, maximum)));

const MOST_WORKERS = 256;

/** How many, or as many as there are cores for this process. */
export const workers = () =>
  variable('1', (text) => {
    if (text === 'auto') return Math.min(availableParallelism(), MOST_WORKERS);
    const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
    if (value >= 1 && value <= MOST_WORKERS) return value;
    throw new Error(`must be auto or an integer from 1 to ${MOST_WORKERS}, ${got(text)}`);
  });

export const durationMs = (fallback: number) => integer(fallback, 1, MAX_DELAY_MS);

/** 0 means no limit. */
export const optionalDurationMs = (fallback: number) => integer(fallback, 0, MAX_DELAY_MS);

export const port = (fallback: number) => integer(fallback, 0, 65_535);

/** Present but empty means that nothing listens. */
export const optionalPort = (fallback: number) =>
  variable(String(fallback), (text) => (text === '' ? undefined : readInteger(text, 0, 65_535)));

export const ratio = (fallback: number) =>
  variable(String(fallback), (text) => {
    const value = /^(?:\d+\.?\d*|\.\d+)$/.test(text) ? Number(text) : Number.NaN;
    if (value > 0 && value <= 1) return value;
    throw new Error(`must be a number over 0 and up to 1, ${got(text)}`);
  });

/** From 0, which is none, to 1. */
export const optionalRatio = (fallback: number) =>
  variable(String(fallback), (text) => {
    const value = /^(?:\d+\.?\d*|\.\d+)$/.test(text) ? Number(text) : Number.NaN;
    if (value <= 1) return value;
    throw new Error(`must be a number from 0 to 1, ${got(text)}`);
  });

/** Empty means nothing. */
export const optionalShare = (largest: number) =>
  variable('', (text) => {
    if (text === '') return undefined;
    const value = /^(?:\d+\.?\d*|\.\d+)$/.test(text) ? Number(text) : Number.NaN;
    if (value > 0 && value <= largest) return value;
    throw new Error(`must be a number over 0 and up to ${largest}, ${got(text)}`);
  });

export const oneOf = <const T extends string>(fallback: T, allowed: readonly T[]) =>
  variable(fallback, (text) => {
    const found = allowed.find((one) => one === text);
    if (found !== undefined) return found;
    throw new Error(`must be one of ${allowed.join(', ')}, ${got(text)}`);
  });

export const host = (fallback: string) =>
  variable(fallback, (text) => {
    if (isIP(text) !== 0 || /^[\w.-]+$/.test(text)) return text;
    throw new Error(`must be an IP address or a host name, without port or brackets, ${got(text)}`);
  });

export const redisUrl = () =>
  variable('', (text) => {
    if (text === '') return undefined;
    // Not echoed: it may hold a password.
    // A list of hosts is none of a URL. ipRateLimit() checks it in full.
    if (/^rediss?\+(cluster|sentinel):\/\/[^/?#]/.test(text)) return text;
    const url = URL.parse(text);
    if (url === null || !/^rediss?:$/.test(url.protocol) || url.hostname === '' || !/^\/?\d*$/.test(url.pathname)) {
      throw new Error('must be a URL like redis://localhost:6379 or rediss://user:password@redis.example:6380/1');
    }
    return text;
  });

/** Backends, one or more, each with or without `;weight=<n>` and `;keepAlive=false`. The package decides which ones are usable. */
export const origins = (fallback: string) =>
  variable(fallback, (text) => {
    const problems: string[] = [];
    const list: (string | BackendOptions)[] = [];
    for (const item of text.split(',')) {
      const read = readItem(item.trim());
      if ('problem' in read) problems.push(read.problem);
      else list.push(Object.keys(read).length === 1 ? read.url : read);
    }
    if (list.length > 0) problems.push(...problemsWith(list));
    if (problems.length === 0) return list;
    throw new Error(`must be a comma-separated list of URLs like http://localhost:8081: ${problems.join(', ')}`);
  });

function readItem(item: string): BackendOptions | { readonly problem: string } {
  const [text = '', ...parameters] = item.split(';').map((part) => part.trim());
  if (text === '') return { problem: 'an item is empty' };
  const url = canonical(text);
  if (parameters.length === 0) return { url };
  const [, weight, keepAlive] =
    /^(?:weight=(\d{1,4})(?:;(?=k)|$))?(?:keepAlive=(true|false))?$/.exec(parameters.join(';')) ?? [];
  if (weight !== undefined || keepAlive !== undefined) {
    return {
      url,
      ...(weight === undefined ? {} : { weight: Number(weight) }),
      ...(keepAlive === undefined ? {} : { keepAlive: keepAlive === 'true' }),
    };
  }
  // Not echoed when it may hold a password.
  const name = text.includes('@') ? 'a backend' : url;
  return { problem: `${name} may be followed by ;weight= and a number, then by ;keepAlive=false, and by nothing else` };
}

/** As status and log show it, if it is an origin. */
function canonical(text: string): string {
  if (/^(?:dns|srv)[:+]/i.test(text)) return text.toLowerCase().replace(/\/$/, '');
  if (!URL.canParse(text)) return text;
  const { origin, href } = new URL(text);
  return href === `${origin}/` ? origin : text;
}

/** What the package says against a list of backends. */
function problemsWith(list: readonly (string | BackendOptions)[]): readonly string[] {
  try {
    assertBackends(list);
    return [];
  } catch (error) {
    return error instanceof OptionsError ? error.problems : [String(error)];
  }
}

/** Empty means the system's own. */
export const dnsServers = () =>
  variable('', (text) => {
    if (text === '') return undefined;
    const servers = text.split(',').map((item) => item.trim());
    try {
      new Resolver().setServers(servers);
    } catch {
      throw new Error(`must be a comma-separated list of IP addresses, with or without a port, ${got(text)}`);
    }
    return servers;
  });

/** Names, apart by commas; empty means none. */
export const names = () =>
  variable('', (text): readonly string[] =>
    text
      .split(',')
      .map((item) => item.trim())
      .filter((item) => item !== ''),
  );

/** Names of headers, apart by commas, some with a `*` at their end; empty means none. */
export const headerNames = () =>
  variable('', (text): readonly string[] => {
    const items = text
      .split(',')
      .map((item) => item.trim())
      .filter((item) => item !== '');
    const bad = items.find((item) => !/^[\w.-]+\*?$/.test(item));
    if (bad !== undefined) throw new Error(`must be header names, or beginnings such as x-corp-*, ${got(bad)}`);
    return items;
  });

/** What `hash` goes by: `ip`, or the name of a header, cookie or query parameter. */
export const hashBy = () =>
  variable('ip', (text): HashBy => {
    if (text === 'ip') return text;
    const [, kind, name = ''] = /^(header|cookie|query):(.+)$/.exec(text) ?? [];
    const isToken = /^[\w!#$%&'*+.^`|~-]+$/.test(name);
    if (kind === 'query') return { query: name };
    if (kind === 'header' && isToken) return { header: name };
    if (kind === 'cookie' && isToken) return { cookie: name };
    throw new Error(`must be ip, header:<name>, cookie:<name> or query:<name>, ${got(text)}`);
  });

/** From 1; empty means no bound. */
export const optionalFactor = () =>
  variable('', (text) => {
    if (text === '') return Number.POSITIVE_INFINITY;
    const value = /^\d+(?:\.\d+)?$/.test(text) ? Number(text) : Number.NaN;
    if (value >= 1) return value;
    throw new Error(`must be a number of at least 1, or empty for no bound, ${got(text)}`);
  });

/** Empty means none. */
export const optionalFile = () => variable('', (text) => (text === '' ? undefined : text));

/** As long as the package wants it; empty means none. */
export const optionalSecret = (least = 32) =>
  variable('', (text) => {
    if (text === '') return undefined;
    // Not echoed: it would end up in the log.
    if (text.length < least) throw new Error(`must have at least ${least} characters: openssl rand -hex 32 makes one`);
    return text;
  });

/** Empty means none. */
export const optionalPath = () =>
  variable('', (text) => {
    if (text === '') return undefined;
    if (/^\/[^\s#]*$/.test(text)) return text;
    throw new Error(`must be a path like /healthz, ${got(text)}`);
  });

/** IP addresses and CIDR ranges; empty means none. */
export const addresses = () =>
  variable('', (text): readonly string[] => {
    if (text === '') return [];
    const items = text.split(',').map((item) => item.trim());
    try {
      assertAddressList(items);
    } catch (error) {
      if (!(error instanceof OptionsError)) throw error;
      throw new Error(`must be a comma-separated list of addresses and CIDR ranges: ${error.problems.join(', ')}`);
    }
    return items;
  });

export const trustProxy = () =>
  variable('', (text): TrustProxy => {
    if (text === '') return false;
    const value = /^\d+$/.test(text) ? Number(text) : text.split(',').map((item) => item.trim());
    // The package knows why `true` is unsafe; as a list item it would only be an unknown name.
    assertTrustProxy(text.toLowerCase() === 'true' ? true : value);
    return value;
  });
