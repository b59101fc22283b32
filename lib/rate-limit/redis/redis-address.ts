import { readFileSync } from 'node:fs';
import { readFailure } from '../../core/read-failure.ts';

export type RedisShape = 'single' | 'cluster' | 'sentinel';

export interface RedisHost {
  readonly host: string;
  readonly port: number;
}

export interface RedisTls {
  readonly ca?: Buffer;
  readonly cert?: Buffer;
  readonly key?: Buffer;
}

/** Where Redis is, and how to log in. */
export interface RedisAddress {
  readonly shape: RedisShape;
  /** One server, some nodes of a cluster, or the Sentinels. */
  readonly hosts: readonly RedisHost[];
  readonly username: string | undefined;
  readonly password: string | undefined;
  readonly database: number;
  /** `undefined`: no TLS. */
  readonly tls: RedisTls | undefined;
  /** Name of the master at the Sentinels. */
  readonly masterName: string;
  /** Login of the Sentinels themselves. */
  readonly sentinelUsername: string | undefined;
  readonly sentinelPassword: string | undefined;
}

const HOST = /^(?:\[[0-9a-f:.]+\]|[^\s:[\]@%]+)(?::\d{1,5})?$/i;
const BARE_HOST = /^(?:\[[0-9a-f:.]+\]|[a-z\d][\w.-]*)(?::\d{1,5})?$/i;
const PARTS = /^(rediss?)(?:\+(cluster|sentinel))?:\/\/([^/?#]*)(\/[^?#]*)?(?:\?([^#]*))?$/i;
/** Named as in redis-py. */
const TLS_FILES = Object.freeze({ ssl_ca_certs: 'ca', ssl_certfile: 'cert', ssl_keyfile: 'key' } as const);
const SENTINEL_PARAMETERS = ['sentinel_username', 'sentinel_password'];
const PATHS: Readonly<Record<RedisShape, { form: RegExp; problem: string }>> = Object.freeze({
  single: { form: /^\/?(?<database>\d*)$/, problem: 'must have a database number or nothing as its path' },
  cluster: { form: /^\/?(?<database>0?)$/, problem: 'must have no database number: a cluster has only 0' },
  sentinel: {
    form: /^\/(?<name>[^/]+)(?:\/(?<database>\d*))?$/,
    problem: 'must have the name of the master as its path, like redis+sentinel://host:26379/mymaster',
  },
});

/** Parses a Redis URL. For a bad one, gives a text that says what is wrong without showing any of it. */
export function readRedisAddress(href: string): RedisAddress | string {
  const parts = PARTS.exec(href);
  if (parts === null) {
    if (/^rediss?(\+\w+)?:\/\//i.test(href)) return 'must be a Redis URL, but cannot be parsed';
    // The rest of the text may contain a password, so it is not shown.
    const meant = BARE_HOST.test(href) ? `: use redis://${href}` : ', like redis://localhost:6379';
    return `must start with redis:// or rediss:// (TLS), or with redis+cluster:// or redis+sentinel://${meant}`;
  }
  const [, scheme, kind, authority = '', path = '', query = ''] = parts;
  const shape = (kind?.toLowerCase() ?? 'single') as RedisShape;
  const tls = scheme?.toLowerCase() === 'rediss';
  const at = authority.lastIndexOf('@');
  const hosts = readHosts(authority.slice(at + 1), shape);
  if (typeof hosts === 'string') return hosts;
  const groups = PATHS[shape].form.exec(path)?.groups;
  if (groups === undefined) return PATHS[shape].problem;
  const parameters = new URLSearchParams(query);
  const unknown = unknownParameter(parameters, shape, tls);
  if (unknown !== undefined) return unknown;
  try {
    const [username, password] = readLogin(at < 0 ? '' : authority.slice(0, at));
    return {
      shape,
      hosts,
      username,
      password,
      database: Number(groups.database || 0),
      tls: tls ? readTls(parameters) : undefined,
      masterName: decodeURIComponent(groups.name ?? ''),
      sentinelUsername: parameters.get('sentinel_username') ?? undefined,
      sentinelPassword: parameters.get('sentinel_password') ?? undefined,
    };
  } catch (error) {
    return error instanceof URIError ? 'must percent-encode its user name and password' : (error as Error).message;
  }
}

function readHosts(text: string, shape: RedisShape): readonly RedisHost[] | string {
  const names = text.split(',');
  if (names.some((name) => name === '' || name.startsWith(':'))) return 'must name a host';
  if (shape === 'single' && names.length > 1)
    return 'must name one host; several need redis+cluster:// or redis+sentinel://';
  const hosts: RedisHost[] = [];
  for (const name of names) {
    const url = HOST.test(name) ? URL.parse(`redis://${name}`) : null;
    if (url === null) {
      return 'must be a Redis URL, but cannot be parsed: its hosts must be names or addresses with a port or without';
    }
    const host = url.hostname.toLowerCase().replace(/^\[|\]$/g, '');
    hosts.push({ host, port: Number(url.port || (shape === 'sentinel' ? 26_379 : 6_379)) });
  }
  return hosts;
}

function readLogin(text: string): [string | undefined, string | undefined] {
  if (text === '') return [undefined, undefined];
  const colon = text.indexOf(':');
  if (colon < 0) return [decodeURIComponent(text), undefined];
  return [decodeURIComponent(text.slice(0, colon)) || undefined, decodeURIComponent(text.slice(colon + 1))];
}

function unknownParameter(parameters: URLSearchParams, shape: RedisShape, tls: boolean): string | undefined {
  const known = [...(tls ? Object.keys(TLS_FILES) : []), ...(shape === 'sentinel' ? SENTINEL_PARAMETERS : [])];
  if ([...parameters.keys()].every((name) => known.includes(name))) return undefined;
  return `must have no parameters but ${known.length > 0 ? known.join(', ') : 'those of rediss:// or redis+sentinel://'}`;
}

/** @throws {Error} where a file cannot be read */
function readTls(parameters: URLSearchParams): RedisTls {
  const tls: { -readonly [Part in keyof RedisTls]: RedisTls[Part] } = {};
  for (const [name, part] of Object.entries(TLS_FILES)) {
    const file = parameters.get(name);
    if (file === null) continue;
    try {
      tls[part] = readFileSync(file);
    } catch (cause) {
      throw new Error(`must name a readable file as ${name} (${readFailure(cause as Error)})`, { cause });
    }
  }
  return tls;
}

/** A Redis URL that cannot leak its password: error messages show only the name of this class. */
export class RedisUrl {
  readonly #address: RedisAddress | string;

  constructor(href: string) {
    this.#address = readRedisAddress(href);
  }

  /** What is wrong with the URL, if anything. */
  get problem(): string | undefined {
    return typeof this.#address === 'string' ? this.#address : undefined;
  }

  /**
   * The parts of the URL, with its password: for the client only.
   *
   * @throws {TypeError} if it has a problem
   */
  get address(): RedisAddress {
    if (typeof this.#address === 'string') throw new TypeError(`The Redis URL ${this.#address}`);
    return this.#address;
  }
}
