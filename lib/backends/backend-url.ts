import { type Check, described, OptionsError } from '../core/options.ts';
import { shownText, shownValue } from '../core/shown-value.ts';
import { type DiscoveryName, looksDiscovered, readDiscoveryName } from './discovery/discovery-name.ts';

export const MAX_WEIGHT = 1_000;

/** One backend, or a DNS name that stands for several. */
export interface BackendOptions {
  /**
   * Its origin, `http://host:port` or `https://host:port`. Or a name whose addresses are one backend each:
   * `dns://name:port` and `dns+https://name:port` for A and AAAA records (certificates are checked for the name),
   * `srv://name` for SRV records.
   */
  readonly url: string;
  /** Its share of the traffic relative to the others, for policies that respect weights; 0 takes it out of rotation. Default 1. */
  readonly weight?: number;
  /**
   * Whether its connections are used for more than one request. Set it to `false` for a backend that may mix up responses: over
   * HTTP/1.1, only a connection for each request prevents that. Default true.
   */
  readonly keepAlive?: boolean;
}

/** A backend's configuration with defaults filled in. */
export interface BackendConfig {
  readonly url: URL;
  readonly weight: number;
  /** `false` if each request has its own connection. */
  readonly keepAlive?: boolean;
  /** The DNS name that it was discovered by. */
  readonly name?: string;
}

/** Identifies a backend across lists, by its origin and, with TLS, the name in its certificate. */
export function identityOf({ url, name }: BackendConfig): string {
  return url.protocol === 'https:' && name !== undefined ? `${url.origin} ${name}` : url.origin;
}

/** @throws {TypeError} for a value that {@link backendList} does not accept. */
export function readBackends(list: readonly (string | BackendOptions)[]): (BackendConfig | DiscoveryName)[] {
  return list.map((item) => {
    const config = readBackend(item);
    if (typeof config === 'string') throw new TypeError(config);
    return config;
  });
}

/**
 * Throws for a list of backends that the proxy would reject. For lists that come from a file or a form.
 *
 * @throws {OptionsError} that names each problem.
 */
export function assertBackends(list: unknown): asserts list is readonly (string | BackendOptions)[] {
  const problems = backendList(list);
  if (problems !== undefined) throw new OptionsError('backends', [problems].flat());
}

/** One or more distinct backends. */
export const backendList: Check = described(
  (value) => {
    if (!Array.isArray(value) || value.length === 0)
      return "must be a non-empty array of backends, like ['http://localhost:8081']";
    const problems: string[] = [];
    const seen = new Set<string>();
    for (const item of value) {
      const config = readBackend(item);
      if (typeof config === 'string') problems.push(config);
      else if (seen.has(nameOf(config))) problems.push(`"${nameOf(config)}" is named twice`);
      else seen.add(nameOf(config));
    }
    return problems.length > 0 ? problems : undefined;
  },
  {
    type: 'array',
    minItems: 1,
    items: {
      anyOf: [
        { type: 'string' },
        {
          type: 'object',
          properties: {
            url: { type: 'string' },
            weight: { type: 'integer', minimum: 0, maximum: MAX_WEIGHT },
            keepAlive: { type: 'boolean' },
          },
          required: ['url'],
          additionalProperties: false,
        },
      ],
    },
    examples: [['http://localhost:3001']],
  },
);

function nameOf({ url }: BackendConfig | DiscoveryName): string {
  return typeof url === 'string' ? url : url.origin;
}

const notABackend = (given: unknown): string =>
  `a backend must be a string like "http://localhost:8081", or { url, weight }, got ${shownValue(given)}`;

/** Reads one backend; returns the problem as text when it is invalid. */
function readBackend(item: unknown): BackendConfig | DiscoveryName | string {
  if (typeof item === 'string') return readUrl(item, 1, true);
  if (typeof item !== 'object' || item === null || item instanceof URL) return notABackend(item);
  const { url, weight = 1, keepAlive = true, ...rest } = item as BackendOptions;
  const unknown = Object.keys(rest);
  if (unknown.length > 0) return `a backend has no option ${unknown.map(shownText).join(', ')}`;
  if (!Number.isSafeInteger(weight) || weight < 0 || weight > MAX_WEIGHT) {
    return `weight must be an integer from 0 to ${MAX_WEIGHT}, got ${shownValue(weight)}`;
  }
  if (typeof keepAlive !== 'boolean') {
    return `keepAlive must be true or false, got ${shownValue(keepAlive)}`;
  }
  return readUrl(url, weight, keepAlive);
}

function readUrl(text: unknown, weight: number, keepAlive: boolean): BackendConfig | DiscoveryName | string {
  if (typeof text !== 'string') return notABackend(text);
  if (looksDiscovered(text)) return readDiscoveryName(text, weight, keepAlive);
  // Not echoed, even if it is no URL: the error must not show the password.
  if (text.includes('@')) return 'a backend URL must not carry credentials';
  if (!URL.canParse(text)) return `${shownText(text)} is not a URL`;
  const url = new URL(text);
  if (url.protocol !== 'http:' && url.protocol !== 'https:') {
    return `${shownText(text)} must start with http:// or https://, dns:// or srv://`;
  }
  if (url.pathname !== '/' || url.search !== '' || url.hash !== '') {
    const hint = url.pathname === '/' ? '' : ': pathRewrite, or rewrite of a route, changes paths';
    return `${shownText(text)} must be an origin, without path${hint}`;
  }
  return keepAlive ? { url, weight } : { url, weight, keepAlive };
}
