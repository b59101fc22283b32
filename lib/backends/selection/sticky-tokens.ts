import { createHmac, timingSafeEqual } from 'node:crypto';
import type { BackendView } from './selection-policy.ts';

/** The value of a cookie for one backend. */
interface Token {
  readonly backend: BackendView;
  readonly value: string;
  readonly bytes: Buffer;
  /** Whether it is signed with the first secret. */
  readonly isCurrent: boolean;
}

/** Characters of the part that finds the backend: 66 bits. */
const NAME_LENGTH = 11;

/** Characters of the part that tells the scope, where there is one: 36 bits. */
const SCOPE_LENGTH = 6;

/**
 * The values of a sticky cookie, one per backend: `<name>.<signature>`, both keyed hashes. A value tells no address, cannot be
 * forged, and is the same on every gateway with the same secret. The values are made when the pool changes; requests only look
 * them up.
 */
export class StickyTokens {
  readonly #secrets: readonly string[];
  readonly #cookie: string;
  readonly #scope: string;
  readonly #nameLength: number;
  #byName = new Map<string, Token>();
  #byBackend = new Map<BackendView, Token>();

  /**
   * @param secrets The first signs; cookies of the others stay valid.
   * @param scope The service that the backends belong to. Its values tell it from other services, by a hash as well.
   */
  constructor(secrets: readonly string[], cookie: string, scope = '') {
    this.#secrets = secrets;
    this.#cookie = cookie;
    this.#scope = scope;
    this.#nameLength = NAME_LENGTH + (scope === '' ? 0 : SCOPE_LENGTH);
  }

  adopt(backends: readonly BackendView[]): void {
    this.#byName = new Map();
    this.#byBackend = new Map();
    for (const backend of backends) {
      for (const [age, secret] of this.#secrets.entries()) {
        const name = this.#tag(secret) + keyedHash(secret, `backend ${backend.origin}`).slice(0, NAME_LENGTH);
        const value = this.#signed(secret, name);
        const token = { backend, value, bytes: Buffer.from(value), isCurrent: age === 0 };
        this.#byName.set(name, token);
        if (token.isCurrent) this.#byBackend.set(backend, token);
      }
    }
  }

  /** The token of a client's cookie value, if the value is valid. */
  find(value: string): Token | undefined {
    const token = this.#byName.get(value.slice(0, this.#nameLength));
    return token !== undefined && isEqual(value, token.bytes) ? token : undefined;
  }

  /** Whether a value is valid for the scope, whichever backend it names. */
  isOfScope(value: string): boolean {
    if (this.find(value) !== undefined) return true;
    const name = value.slice(0, this.#nameLength);
    return this.#secrets.some(
      (secret) => name.startsWith(this.#tag(secret)) && isEqual(value, Buffer.from(this.#signed(secret, name))),
    );
  }

  valueFor(backend: BackendView): string {
    return (this.#byBackend.get(backend) as Token).value;
  }

  #tag(secret: string): string {
    return this.#scope === '' ? '' : keyedHash(secret, `scope ${this.#scope}`).slice(0, SCOPE_LENGTH);
  }

  #signed(secret: string, name: string): string {
    return `${name}.${keyedHash(secret, `cookie ${this.#cookie} ${name}`)}`;
  }
}

function isEqual(value: string, expected: Buffer): boolean {
  const bytes = Buffer.from(value);
  return bytes.length === expected.length && timingSafeEqual(bytes, expected);
}

function keyedHash(secret: string, text: string): string {
  return createHmac('sha256', secret).update(text).digest('base64url');
}
