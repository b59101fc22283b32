import { createHmac, randomBytes, scrypt, scryptSync, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';
import type { Consumer, Exchange } from '../core/exchange.ts';
import { eventsCheck, GatewayEvents } from '../core/gateway-events.ts';
import { headerName } from '../core/header-names.ts';
import {
  type Check,
  type Checks,
  described,
  isPlainObject,
  nonEmptyString,
  optional,
  resolveOptions,
} from '../core/options.ts';
import {
  type Authentication,
  type AuthenticationMiddleware,
  authenticates,
  credentialsOf,
  looksUp,
  PRINTABLE,
  quoted,
  unauthenticated,
} from './authentication.ts';

/** Checks a name and a password. Return `undefined` when they are wrong. A rejected promise means that the check failed (503). */
export type PasswordCheck = (name: string, password: string) => Consumer | undefined | Promise<Consumer | undefined>;

/** Options of {@link basicAuth}. */
export interface BasicAuthOptions {
  /**
   * Names with the hash of each password from `hashPassword()`, or a function that checks a name and a password and
   * returns `{ name, plan }` if they are right.
   */
  users: Readonly<Record<string, string>> | PasswordCheck;
  /** Name of the protected area, which some browsers show with the password dialog. Default `Restricted`. */
  realm?: string;
  /** Request header for the backend with the name of the user. It replaces the client's own. Default `x-consumer`. */
  consumerHeader?: string;
  /** Emitter of the event `rejected`. Default: a new one, as `events` of the result. */
  events?: GatewayEvents;
}

/** Defaults of {@link BasicAuthOptions}. */
export const basicAuthDefaults = Object.freeze({ realm: 'Restricted', consumerHeader: 'x-consumer' });

const usersCheck: Check = described(
  (value) => {
    if (typeof value === 'function') return undefined;
    if (!isPlainObject(value)) return 'must be an object or a function';
    // The value is not shown: it may be the password itself.
    const problems = Object.entries(value).flatMap(([name, hash]) => [
      ...(PRINTABLE.test(name) && !name.includes(':') ? [] : [`"${name}" must be printable ASCII without a colon`]),
      ...(typeof hash === 'string' && readHash(hash) !== undefined
        ? []
        : [`"${name}" must have a hash of hashPassword()`]),
    ]);
    return problems.length === 0 ? undefined : problems;
  },
  { type: 'object', additionalProperties: { type: 'string' } },
);

export const basicAuthChecks: Checks<BasicAuthOptions> = {
  users: usersCheck,
  realm: nonEmptyString,
  consumerHeader: headerName,
  events: optional(eventsCheck),
};

/** Cost of scrypt: 16 MiB and about 50 ms, OWASP's minimum for these parameters. */
const COST = 2 ** 14;
const BLOCK = 8;
const KEY_BYTES = 32;

/** Hashes a password with scrypt (RFC 7914) and a new salt: `scrypt$16384$8$1$<salt>$<hash>`. */
export function hashPassword(password: string): string {
  const salt = randomBytes(16);
  const hash = scryptSync(password, salt, KEY_BYTES, { N: COST, r: BLOCK, p: 1 });
  return ['scrypt', COST, BLOCK, 1, salt.toString('base64url'), hash.toString('base64url')].join('$');
}

interface PasswordHash {
  readonly salt: Buffer;
  readonly hash: Buffer;
}

function readHash(text: string): PasswordHash | undefined {
  const [name, cost, block, lanes, salt, hash, ...rest] = text.split('$');
  if (name !== 'scrypt' || cost !== String(COST) || block !== String(BLOCK) || lanes !== '1' || rest.length > 0)
    return undefined;
  const bytes = Buffer.from(hash ?? '', 'base64url');
  return salt && bytes.length === KEY_BYTES ? { salt: Buffer.from(salt, 'base64url'), hash: bytes } : undefined;
}

const scryptKey = promisify<string, Buffer, number, { N: number; r: number; p: number }, Buffer>(scrypt);

/** Checks in progress at a time. More get 503: each costs 50 ms of a core, and guessing must not stop everything else. */
const MAX_RUNNING = 64;

/** Names and hashes of passwords. */
class Users {
  readonly #hashes: ReadonlyMap<string, PasswordHash>;
  /** Checked for an unknown name, so that its response takes as long as that for a known one. */
  readonly #decoy: PasswordHash = { salt: randomBytes(16), hash: randomBytes(KEY_BYTES) };
  readonly #secret = randomBytes(32);
  /** Credentials that were right before, so that further requests do not cost scrypt. At most one entry per user. */
  readonly #known = new Set<string>();
  /** Checks in progress. Requests with the same credentials share one. */
  readonly #running = new Map<string, Promise<boolean>>();

  constructor(users: Readonly<Record<string, string>>) {
    this.#hashes = new Map(Object.entries(users).map(([name, text]) => [name, readHash(text) as PasswordHash]));
  }

  check(name: string, password: string): Consumer | undefined | Promise<Consumer | undefined> {
    // With a secret key, so that a dump of the memory has no hash to guess passwords with.
    const mark = createHmac('sha256', this.#secret).update(`${name.length}:${name}${password}`).digest('base64');
    const consumer = { name };
    if (this.#known.has(mark)) return consumer;
    let running = this.#running.get(mark);
    if (running === undefined) {
      if (this.#running.size >= MAX_RUNNING) return Promise.reject(new Error('too many passwords are being checked'));
      running = this.#fits(name, password, mark).finally(() => this.#running.delete(mark));
      this.#running.set(mark, running);
    }
    return running.then((fits) => (fits ? consumer : undefined));
  }

  async #fits(name: string, password: string, mark: string): Promise<boolean> {
    const { salt, hash } = this.#hashes.get(name) ?? this.#decoy;
    const actual = await scryptKey(password, salt, KEY_BYTES, { N: COST, r: BLOCK, p: 1 });
    if (!timingSafeEqual(actual, hash)) return false;
    this.#known.add(mark);
    return true;
  }
}

/**
 * Admits requests with the name and password of a user (RFC 7617). All others get 401, and a browser then asks for a password.
 * Use it over TLS only: each request contains the password.
 *
 * @throws {OptionsError} that names each unknown key and each bad value.
 */
export function basicAuth(given: BasicAuthOptions): AuthenticationMiddleware {
  const options = resolveOptions('basicAuth', given, basicAuthDefaults, basicAuthChecks);
  const { users, realm, consumerHeader, events = new GatewayEvents() } = options;
  const known = typeof users === 'function' ? undefined : new Users(users);
  const check: PasswordCheck =
    typeof users === 'function' ? users : (name, password) => (known as Users).check(name, password);
  const challenge = `Basic realm=${quoted(realm)}, charset="UTF-8"`;

  const found = (consumer: Consumer | undefined): Authentication =>
    consumer === undefined
      ? unauthenticated(challenge, 'The name or the password is wrong.')
      : { kind: 'authenticated', consumer, headers: { [consumerHeader]: consumer.name } };

  const lookUp = looksUp('basicAuth: users()', check, found);

  function authenticate({ req }: Exchange): Authentication | Promise<Authentication> {
    const text = Buffer.from(credentialsOf(req, 'basic') ?? '', 'base64').toString();
    const colon = text.indexOf(':');
    if (colon === -1) return unauthenticated(challenge, 'The request has no name and password.');
    return lookUp(text.slice(0, colon), text.slice(colon + 1));
  }

  return authenticates(events, authenticate);
}
