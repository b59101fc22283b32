import { createHash } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import type { Consumer, Exchange } from '../core/exchange.ts';
import { eventsCheck, GatewayEvents } from '../core/gateway-events.ts';
import { headerName } from '../core/header-names.ts';
import {
  type Check,
  type Checks,
  described,
  nonEmptyString,
  OptionsError,
  optional,
  resolveOptions,
} from '../core/options.ts';
import { readFailure } from '../core/read-failure.ts';
import { shownValue } from '../core/shown-value.ts';
import { thrown, warn } from '../core/warnings.ts';
import {
  type Authentication,
  type AuthenticationMiddleware,
  authenticates,
  looksUp,
  PRINTABLE,
  unauthenticated,
} from './authentication.ts';

/** One API key. The key itself is not stored: only its SHA-256, which is enough for a key of 128 random bits or more. */
export interface ApiKey {
  /** SHA-256 of the key in hexadecimal digits: `printf %s "$KEY" | sha256sum`. */
  readonly sha256: string;
  /** Name of the consumer that uses the key. A consumer may have several keys, to change them without a pause. */
  readonly consumer: string;
  /** Plan of the consumer. Default: none. */
  readonly plan?: string;
}

/**
 * Looks a key up. Return `{ name, plan }`, of which `plan` may be left out, or `undefined` for an unknown key. A rejected promise means that the
 * lookup failed (503).
 */
export type ApiKeyLookup = (key: string) => Consumer | undefined | Promise<Consumer | undefined>;

/** Options of {@link apiKeyAuth}. */
export interface ApiKeyAuthOptions {
  /**
   * The keys: a list, the path of a JSON file with such a list, which is read again when it changes, or a
   * function that returns `{ name, plan }` of a known key.
   */
  keys: string | readonly ApiKey[] | ApiKeyLookup;
  /** Name of the request header with the key. It is not forwarded. Default `x-api-key`. */
  header?: string;
  /**
   * Name of the query parameter with the key, for clients that cannot set a header. URLs end up in logs and browser histories.
   * It is removed from `req.url`, `req.originalUrl` and `req.query`, so it is not forwarded. Default: none.
   */
  query?: string;
  /** Request header for the backend with the name of the consumer. It replaces the client's own. Default `x-consumer`. */
  consumerHeader?: string;
  /** Emitter of the event `rejected`. Default: a new one, as `events` of the result. */
  events?: GatewayEvents;
}

/** Defaults of {@link ApiKeyAuthOptions}. */
export const apiKeyAuthDefaults = Object.freeze({ header: 'x-api-key', consumerHeader: 'x-consumer' });

const keysCheck: Check = described(
  (value) => {
    if (typeof value === 'function' || (typeof value === 'string' && value !== '')) return undefined;
    return Array.isArray(value) ? listProblems(value) : 'must be a list of keys, a path or a function';
  },
  {
    anyOf: [
      { type: 'string', minLength: 1 },
      {
        type: 'array',
        items: {
          type: 'object',
          properties: { sha256: { type: 'string' }, consumer: { type: 'string' }, plan: { type: 'string' } },
          required: ['sha256', 'consumer'],
          additionalProperties: false,
        },
      },
    ],
  },
);

export const apiKeyAuthChecks: Checks<ApiKeyAuthOptions> = {
  keys: keysCheck,
  header: headerName,
  query: optional(nonEmptyString),
  consumerHeader: headerName,
  events: optional(eventsCheck),
};

function listProblems(list: readonly unknown[]): string[] | undefined {
  const problems = list.flatMap((one, index) => {
    const { sha256, consumer, plan, ...others } = (typeof one === 'object' && one !== null ? one : {}) as Record<
      string,
      unknown
    >;
    const unknown = Object.keys(others);
    // The problem must not repeat the value: it may be the key itself.
    return [
      ...(typeof sha256 === 'string' && /^[0-9a-f]{64}$/i.test(sha256) ? [] : ['sha256 must be 64 hexadecimal digits']),
      ...(typeof consumer === 'string' && PRINTABLE.test(consumer) ? [] : ['consumer must be printable ASCII']),
      ...(plan === undefined || (typeof plan === 'string' && plan !== '') ? [] : ['plan must be a non-empty text']),
      ...(unknown.length === 0 ? [] : [`unknown ${unknown.join(', ')}`]),
    ].map((problem) => `key ${index + 1}: ${problem}`);
  });
  return problems.length > 0 ? problems : undefined;
}

/** The middleware of {@link apiKeyAuth}. */
export interface ApiKeyAuth extends AuthenticationMiddleware {
  /** Stops watching the file. */
  close(): void;
}

/**
 * Admits requests with a known API key, and passes the name of its consumer to the backend and the limiters. All others get 401.
 *
 * @throws {OptionsError} that names each unknown key and each bad value, and each problem of the file.
 */
export function apiKeyAuth(given: ApiKeyAuthOptions): ApiKeyAuth {
  const options = resolveOptions('apiKeyAuth', given, apiKeyAuthDefaults, apiKeyAuthChecks, { key: 'use keys' });
  const { keys, query, events = new GatewayEvents() } = options;
  const header = options.header.toLowerCase();
  const file = typeof keys === 'string' ? new ApiKeyFile(keys) : undefined;
  const list = Array.isArray(keys) ? consumersByHash(keys as readonly ApiKey[]) : undefined;
  const lookup: ApiKeyLookup = typeof keys === 'function' ? keys : (key) => (file?.consumers ?? list)?.get(sha256(key));
  const challenge = `ApiKey name="${header}"`;

  const found = (consumer: Consumer | undefined): Authentication =>
    consumer === undefined
      ? unauthenticated(challenge, 'The API key is not known.')
      : { kind: 'authenticated', consumer, headers: { [options.consumerHeader]: consumer.name } };

  const lookUp = looksUp('apiKeyAuth: keys()', lookup, found);

  function authenticate({ req }: Exchange): Authentication | Promise<Authentication> {
    const inQuery = query === undefined ? undefined : takeParameter(req, query);
    const inHeader = req.headers[header];
    delete req.headers[header];
    const key = typeof inHeader === 'string' && inHeader !== '' ? inHeader : inQuery;
    if (key === undefined || key === '') return unauthenticated(challenge, `The request has no API key (${header}).`);
    return lookUp(key);
  }

  return Object.assign(authenticates(events, authenticate), { close: () => file?.close() });
}

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

const consumersByHash = (keys: readonly ApiKey[]): ReadonlyMap<string, Consumer> =>
  new Map(keys.map((key) => [key.sha256.toLowerCase(), Object.freeze({ name: key.consumer, plan: key.plan })]));

/** Where a request has its query. */
interface Queried {
  url?: string | undefined;
  originalUrl?: string;
  readonly query?: unknown;
}

/**
 * Takes a parameter out of the query, wherever the request has it: a `pathRewrite` may forward `originalUrl`. The other parameters keep their
 * spelling.
 */
export function takeParameter(req: Queried, name: string): string | undefined {
  const { url = '', originalUrl = url } = req;
  const { value, rest } = withoutParameter(url, name);
  if (value === undefined) return undefined;
  req.url = rest;
  if (originalUrl !== url) req.originalUrl = withoutParameter(originalUrl, name).rest;
  else if (req.originalUrl !== undefined) req.originalUrl = rest;
  // Express 5 parses the query on every read, Express 4 has done so once.
  if (Object.hasOwn(req, 'query')) delete (req.query as Record<string, unknown>)[name];
  return value;
}

function withoutParameter(url: string, name: string): { readonly value: string | undefined; readonly rest: string } {
  const start = url.indexOf('?');
  if (start === -1) return { value: undefined, rest: url };
  let value: string | undefined;
  const kept = url
    .slice(start + 1)
    .split('&')
    .filter((pair) => {
      if (!isNamed(pair, name)) return true;
      value ??= new URLSearchParams(pair).values().next().value;
      return false;
    });
  return { value, rest: url.slice(0, start) + (kept.length > 0 ? `?${kept.join('&')}` : '') };
}

/** Whether a pair of a query has a name, as `URLSearchParams` reads it. Most names need no decoding, which takes 1 µs for each of thousands. */
function isNamed(pair: string, name: string): boolean {
  const equals = pair.indexOf('=');
  const written = equals === -1 ? pair : pair.slice(0, equals);
  return /[%+?]/.test(written) ? new URLSearchParams(pair).keys().next().value === name : written === name;
}

const LOOK_EVERY_MS = 1_000;

/** A JSON file with keys. It is checked for changes once a second, because change events get lost on network drives and in Kubernetes. */
class ApiKeyFile {
  readonly #path: string;
  readonly #timer: NodeJS.Timeout;
  #version: string;
  consumers: ReadonlyMap<string, Consumer>;

  /** @throws {OptionsError} when the file cannot be used. */
  constructor(path: string) {
    this.#path = path;
    // Before the file is read, so that the next check sees a change in between.
    this.#version = this.#look();
    this.consumers = this.#read();
    this.#timer = setInterval(() => this.#readIfChanged(), LOOK_EVERY_MS).unref();
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #look(): string {
    try {
      const { ino, size, mtimeMs, ctimeMs } = statSync(this.#path);
      return `${ino} ${size} ${mtimeMs} ${ctimeMs}`;
    } catch (error) {
      return thrown(error);
    }
  }

  #readIfChanged(): void {
    try {
      const version = this.#look();
      if (version === this.#version) return;
      this.#version = version;
      this.consumers = this.#read();
    } catch (error) {
      warn('WARN_EXPRESSWAY_API_KEYS', `The API keys stay as they were: ${thrown(error)}`);
    }
  }

  #read(): ReadonlyMap<string, Consumer> {
    let list: unknown;
    try {
      list = JSON.parse(readFileSync(this.#path, 'utf8'));
    } catch (error) {
      // The message of a JSON syntax error contains a part of the file.
      const reason = error instanceof SyntaxError ? 'it is not JSON' : readFailure(error as Error);
      const text = `keys ${shownValue(this.#path)} cannot be read: ${reason}`;
      throw new OptionsError('apiKeyAuth', [{ path: ['keys'], text }]);
    }
    const problems = Array.isArray(list) ? listProblems(list) : ['it is not a list'];
    if (problems !== undefined)
      throw new OptionsError(
        'apiKeyAuth',
        problems.map((one) => ({ path: ['keys'], text: `keys ${shownValue(this.#path)}: ${one}` })),
      );
    return consumersByHash(list as readonly ApiKey[]);
  }
}
