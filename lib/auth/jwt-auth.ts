import { createPublicKey, createSecretKey, type KeyObject } from 'node:crypto';
import type * as Jose from 'jose';
import type { Exchange } from '../core/exchange.ts';
import { eventsCheck, GatewayEvents } from '../core/gateway-events.ts';
import { cookieValue } from '../core/http.ts';
import {
  type Check,
  type Checks,
  described,
  durationMs,
  nonEmptyString,
  optional,
  optionalDurationMs,
  resolveOptions,
} from '../core/options.ts';
import { headerNames, httpUrl, textList } from './auth-checks.ts';
import {
  type Authentication,
  type AuthenticationMiddleware,
  authenticates,
  credentialsOf,
  quoted,
  unauthenticated,
  unavailable,
} from './authentication.ts';
import { ASYMMETRIC, fitsKey, HMAC, publicKeyProblems, restingAfterFailures, verifiedByAny } from './jwt-keys.ts';

/** Options of {@link jwtAuth}. Give `jwksUrl`, `publicKey` or `secret`. */
export interface JwtAuthOptions {
  /**
   * URL of the issuer's JSON Web Key Set. It is fetched on the first request, kept for `jwksMaxAgeMs`, and fetched again when a
   * token names a key that it does not have, at most every 30 s. With jose 6, a failed
   * fetch is repeated at most once a second. Default: none.
   */
  jwksUrl?: string;
  /** Milliseconds for which a fetched key set is used. Default 600 000. */
  jwksMaxAgeMs?: number;
  /** Timeout of fetching the key set, in milliseconds; then requests get 503. Default 5 000. */
  jwksTimeoutMs?: number;
  /** A public key in PEM form. Default: none. */
  publicKey?: string;
  /** The shared secret of HMAC algorithms, at least 32 characters. Default: none. */
  secret?: string;
  /** Value that `iss` must have, or one of several. Default: any. */
  issuer?: string | readonly string[];
  /** Value that `aud` must contain, or one of several. Without it, a token for another service of the issuer is accepted too. Default: any. */
  audience?: string | readonly string[];
  /**
   * Signature algorithms that are accepted. Default: the asymmetric ones (RS256, PS256, ES256, EdDSA and their longer forms), or
   * HS256, HS384 and HS512 with `secret`. `none` never is.
   */
  algorithms?: readonly string[];
  /** Milliseconds by which clocks may differ when `exp` and `nbf` are checked. Default 5 000. */
  clockToleranceMs?: number;
  /** Name of a cookie that holds the token when `Authorization` has no bearer token, also when it has another scheme, such as Basic. Default: none. */
  cookie?: string;
  /**
   * Claims that go to the backend as request headers: `{ 'x-user': 'sub' }`. Text, numbers and booleans go as text, lists joined
   * by commas. A header of that name from the client is removed, also when the token lacks the claim. Default: none.
   */
  claimHeaders?: Readonly<Record<string, string>>;
  /** Claim that names the consumer. A token without it is refused. Default `sub`. */
  consumerClaim?: string;
  /** Claim that names the consumer's plan. Default: none. */
  planClaim?: string;
  /** Emitter of the event `rejected`. Default: a new one, as `events` of the result. */
  events?: GatewayEvents;
}

/** Defaults of {@link JwtAuthOptions}. */
export const jwtAuthDefaults = Object.freeze({
  jwksMaxAgeMs: 600_000,
  jwksTimeoutMs: 5_000,
  clockToleranceMs: 5_000,
  consumerClaim: 'sub',
});

/** NIST SP 800-107 and RFC 7518 §3.2: a key of HS256 has at least 256 bits. */
const SHORTEST_SECRET = 32;

const algorithmList: Check = described(
  (value) => {
    const known = [...ASYMMETRIC, ...HMAC];
    return Array.isArray(value) && value.length > 0 && value.every((one) => known.includes(one))
      ? undefined
      : `must be a list of ${known.join(', ')}`;
  },
  { type: 'array', items: { enum: [...ASYMMETRIC, ...HMAC] }, minItems: 1 },
);

const pem: Check = described(
  (value) => {
    try {
      createPublicKey(value as string);
      return undefined;
    } catch {
      // The value is not shown: it may be a private key.
      return ['must be a public key in PEM form'];
    }
  },
  { type: 'string' },
);

const secret: Check = described(
  (value) =>
    typeof value === 'string' && value.length >= SHORTEST_SECRET
      ? undefined
      : [`must have at least ${SHORTEST_SECRET} characters`],
  { type: 'string', minLength: SHORTEST_SECRET },
);

export const jwtAuthChecks: Checks<JwtAuthOptions> = {
  jwksUrl: optional(httpUrl),
  jwksMaxAgeMs: durationMs,
  jwksTimeoutMs: durationMs,
  publicKey: optional(pem),
  secret: optional(secret),
  issuer: optional(textList),
  audience: optional(textList),
  algorithms: optional(algorithmList),
  clockToleranceMs: optionalDurationMs,
  cookie: optional(nonEmptyString),
  claimHeaders: optional(headerNames),
  consumerClaim: nonEmptyString,
  planClaim: optional(nonEmptyString),
  events: optional(eventsCheck),
};

/** Checks that there is exactly one source of keys, and that the algorithms fit it. */
function keysCheck(options: JwtAuthOptions): string[] {
  const sources = (['jwksUrl', 'publicKey', 'secret'] as const).filter((name) => options[name] !== undefined);
  if (sources.length !== 1)
    return [`needs exactly one of jwksUrl, publicKey and secret, got ${sources.join(' and ') || 'none'}`];
  // If a public key served as an HMAC secret, everyone could sign tokens.
  const fitting = options.secret === undefined ? ASYMMETRIC : HMAC;
  const odd = (options.algorithms ?? []).filter((name) => !fitting.includes(name));
  if (odd.length > 0) return [`algorithms ${odd.join(', ')} cannot be used with ${sources[0]}`];
  return options.publicKey === undefined ? [] : publicKeyProblems(options.publicKey, options.algorithms ?? ASYMMETRIC);
}

export { keysCheck as jwtKeysCheck };

/**
 * Admits requests with a valid JSON Web Token (RFC 7519) in `Authorization: Bearer` (RFC 6750), and passes the consumer to the backend.
 * All others get 401 with `WWW-Authenticate`. When the key set cannot be fetched, requests get 503: the token may be valid.
 * Needs the package `jose`, which it loads on the first request.
 *
 * @throws {OptionsError} that names each unknown key and each bad value.
 * @see RFC 8725 for what the checks defend against.
 */
export function jwtAuth(given: JwtAuthOptions): AuthenticationMiddleware {
  const options = resolveOptions(
    'jwtAuth',
    given,
    jwtAuthDefaults,
    jwtAuthChecks,
    { algorithm: 'use algorithms, a list' },
    keysCheck,
  );
  const { events = new GatewayEvents(), claimHeaders = {}, consumerClaim, planClaim, cookie } = options;
  const verifier = new Verifier(options);

  async function authenticate(exchange: Exchange): Promise<Authentication> {
    const { req } = exchange;
    const token =
      credentialsOf(req, 'bearer') ?? (cookie === undefined ? undefined : cookieValue(req.headers.cookie, cookie));
    // RFC 6750 §3.1: a request without credentials gets no error code.
    if (token === undefined || token === '') return unauthenticated('Bearer', 'The request has no bearer token.');
    let claims: Jose.JWTPayload;
    try {
      claims = await verifier.verify(token);
    } catch (error) {
      const reason = invalidity(error);
      return reason === undefined ? unavailable(error) : invalid(reason);
    }
    const name = claims[consumerClaim];
    if (typeof name !== 'string' || name === '') return invalid(`The token has no claim ${consumerClaim}.`);
    const plan = planClaim === undefined ? undefined : claims[planClaim];
    const consumer = { name, plan: typeof plan === 'string' ? plan : undefined, claims };
    const headers = Object.fromEntries(
      Object.entries(claimHeaders).map(([header, claim]) => [header, claimText(claims[claim])]),
    );
    return { kind: 'authenticated', consumer, headers };
  }

  return authenticates(events, authenticate);
}

const invalid = (reason: string): Authentication =>
  unauthenticated(`Bearer error="invalid_token", error_description=${quoted(reason)}`, reason);

/** Checks tokens by the keys of the options. */
class Verifier {
  readonly #options: JwtAuthOptions & typeof jwtAuthDefaults;
  readonly #key: KeyObject | undefined;
  #loaded: Promise<(token: string) => Promise<Jose.JWTPayload>> | undefined;

  constructor(options: JwtAuthOptions & typeof jwtAuthDefaults) {
    this.#options = options;
    const { publicKey, secret: text } = options;
    if (publicKey !== undefined) this.#key = createPublicKey(publicKey);
    else if (text !== undefined) this.#key = createSecretKey(Buffer.from(text));
  }

  async verify(token: string): Promise<Jose.JWTPayload> {
    this.#loaded ??= this.#load();
    return (await this.#loaded)(token);
  }

  /** The algorithms that fit the key. A token with another one gets 401, not 503. */
  #algorithms(): string[] {
    const { algorithms, secret: text } = this.#options;
    const key = this.#key;
    const accepted = algorithms ?? (text === undefined ? ASYMMETRIC : HMAC);
    return key?.type === 'public' ? accepted.filter((name) => fitsKey(name, key)) : [...accepted];
  }

  async #load(): Promise<(token: string) => Promise<Jose.JWTPayload>> {
    const { createRemoteJWKSet, customFetch, jwtVerify } = await import('jose');
    const { jwksUrl, issuer, audience, clockToleranceMs, jwksMaxAgeMs, jwksTimeoutMs } = this.#options;
    const rules: Jose.JWTVerifyOptions = {
      algorithms: this.#algorithms(),
      clockTolerance: clockToleranceMs / 1_000,
      requiredClaims: ['exp'],
      ...(issuer === undefined ? {} : { issuer: [issuer].flat() }),
      ...(audience === undefined ? {} : { audience: [audience].flat() }),
    };
    const key = this.#key;
    if (key !== undefined) return async (token) => (await jwtVerify(token, key, rules)).payload;
    const keys = createRemoteJWKSet(new URL(jwksUrl as string), {
      cacheMaxAge: jwksMaxAgeMs,
      timeoutDuration: jwksTimeoutMs,
      // jose 5 has no such option, and fetches again at once.
      ...(customFetch === undefined ? {} : { [customFetch]: restingAfterFailures(jwksTimeoutMs) }),
    });
    return async (token) => {
      const verify = async (by: typeof keys | Jose.CryptoKey) =>
        (await jwtVerify(token, by as typeof keys, rules)).payload;
      return verify(keys).catch((error) => verifiedByAny(error, verify));
    };
  }
}

/** Why a token is invalid, for its sender; `undefined` if it could not be checked. */
function invalidity(error: unknown): string | undefined {
  const { code, claim } = error as { code?: unknown; claim?: unknown };
  switch (code) {
    case 'ERR_JWT_EXPIRED':
      return 'The token has expired.';
    case 'ERR_JWT_CLAIM_VALIDATION_FAILED':
      return `The claim ${String(claim)} is missing or has an unexpected value.`;
    case 'ERR_JWS_SIGNATURE_VERIFICATION_FAILED':
      return 'The signature of the token is not valid.';
    case 'ERR_JWKS_NO_MATCHING_KEY':
      return 'No key fits the token.';
    case 'ERR_JOSE_ALG_NOT_ALLOWED':
      return 'The algorithm of the token is not accepted.';
    case 'ERR_JWS_INVALID':
    case 'ERR_JWT_INVALID':
    case 'ERR_JOSE_NOT_SUPPORTED':
      return 'The token is malformed.';
    default:
      return undefined;
  }
}

/** A claim as the value of a header; `undefined` for an object, and for a list with a member that looks like two. */
function claimText(claim: unknown): string | undefined {
  if (!Array.isArray(claim)) return scalarText(claim);
  const members = claim.map(scalarText);
  return members.every((one) => one !== undefined && !one.includes(',')) ? members.join(',') : undefined;
}

const scalarText = (claim: unknown): string | undefined =>
  typeof claim === 'string' || typeof claim === 'number' || typeof claim === 'boolean' ? String(claim) : undefined;
