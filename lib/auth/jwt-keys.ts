import { createPublicKey, type KeyObject } from 'node:crypto';
import type { CryptoKey, errors, FetchImplementation, JWTPayload } from 'jose';
import { deadlineSignal } from '../core/delay.ts';

/** Algorithms of a public key that are accepted. */
export const ASYMMETRIC = [
  ...['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'],
  ...['ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519'],
];
/** Algorithms of a shared secret that are accepted. */
export const HMAC = ['HS256', 'HS384', 'HS512'];

/** RFC 7518 §3.3: an RSA key has at least 2048 bits. */
const SHORTEST_RSA = 2_048;

/** Why a public key, in PEM form, cannot check tokens of these algorithms. */
export function publicKeyProblems(given: string, algorithms: readonly string[]): string[] {
  const key = createPublicKey(given);
  const bits = key.asymmetricKeyDetails?.modulusLength;
  if (bits !== undefined && bits < SHORTEST_RSA)
    return [`publicKey must have at least ${SHORTEST_RSA} bits, got ${bits}`];
  return algorithms.some((name) => fitsKey(name, key))
    ? []
    : [`no accepted algorithm fits publicKey, a key of ${keyKind(key)}`];
}

const CURVES: Readonly<Record<string, string>> = { ES256: 'prime256v1', ES384: 'secp384r1', ES512: 'secp521r1' };

/** Whether tokens of an algorithm can be checked by a public key. */
export function fitsKey(algorithm: string, key: KeyObject): boolean {
  const kind = keyKind(key);
  if (algorithm.startsWith('RS')) return kind === 'rsa';
  if (algorithm.startsWith('PS')) return kind === 'rsa' || kind === 'rsa-pss';
  return kind === (CURVES[algorithm] ?? 'ed25519');
}

const keyKind = ({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject): string =>
  asymmetricKeyDetails?.namedCurve ?? asymmetricKeyType ?? 'an unknown kind';

const codeOf = (error: unknown): unknown => (error as { code?: unknown }).code;

/**
 * Tries the keys of a set one after the other, for a token that names no key when several fit, as while an issuer changes its key.
 *
 * @param error The error of verifying with the set.
 * @throws that error, unless several keys fit. Otherwise the error of the last key that can be used, or of a token whose signature is valid.
 */
export async function verifiedByAny(
  error: unknown,
  verify: (key: CryptoKey) => Promise<JWTPayload>,
): Promise<JWTPayload> {
  if (codeOf(error) !== 'ERR_JWKS_MULTIPLE_MATCHING_KEYS') throw error;
  let last = error;
  for await (const key of error as errors.JWKSMultipleMatchingKeys) {
    try {
      return await verify(key);
    } catch (reason) {
      const code = codeOf(reason);
      // Claims are checked after the signature, so this key was the right one.
      if (String(code).startsWith('ERR_JWT_')) throw reason;
      // Any other error is of a key that cannot be used, such as an RSA key that is too short.
      if (code === 'ERR_JWS_SIGNATURE_VERIFICATION_FAILED') last = reason;
    }
  }
  throw last;
}

/** Milliseconds after a failure in which a key set is not fetched again. */
const REST_MS = 1_000;

/**
 * Makes a `fetch()` for a key set. For a second after a failure it fails at once, with the same error. jose itself would fetch for each request, so that
 * strangers could send the issuer any number of requests while it is in trouble. Its own timeout would also count time in which this process stood still.
 */
export function restingAfterFailures(timeoutMs: number): FetchImplementation {
  let error: unknown;
  let failedAt = Number.NEGATIVE_INFINITY;
  return async (url, init) => {
    // The clock may be set back.
    if (Math.abs(Date.now() - failedAt) < REST_MS) throw error;
    const { signal, stop } = deadlineSignal(timeoutMs);
    try {
      const response = await fetch(url, { ...init, signal });
      if (response.status !== 200) throw new Error(`the key set has the status ${response.status}`);
      return Response.json(await response.json());
    } catch (reason) {
      error = reason;
      failedAt = Date.now();
      throw reason;
    } finally {
      stop();
    }
  };
}
