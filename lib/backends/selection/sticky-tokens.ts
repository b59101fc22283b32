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

/**
 * The values of a sticky cookie, one per backend: `<name>.<signature>`, both keyed hashes. A value tells no address, cannot be
 * forged, and is the same on every gateway with the same secret. The values are made when the pool changes; requests only look
 * them up.
 */
export class StickyTokens {
  readonly #secrets: readonly string[];
  readonly #cookie: string;
  #byName = new Map<string, Token>();
  #byBackend = new Map<BackendView, Token>();

  /** @param secrets The first signs; cookies of the others stay valid. */
  constructor(secrets: readonly string[], cookie: string) {
    this.#secrets = secrets;
    this.#cookie = cookie;
  }

  adopt(backends: readonly BackendView[]): void {
    this.#byName = new Map();
    this.#byBackend = new Map();
    for (const backend of backends) {
      for (const [age, secret] of this.#secrets.entries()) {
        const name = keyedHash(secret, `backend ${backend.origin}`).slice(0, NAME_LENGTH);
        const value = `${name}.${keyedHash(secret, `cookie ${this.#cookie} ${name}`)}`;
        const token = { backend, value, bytes: Buffer.from(value), isCurrent: age === 0 };
        this.#byName.set(name, token);
        if (token.isCurrent) this.#byBackend.set(backend, token);
      }
    }
  }

  /** The token of a client's cookie value, if the value is valid. */
  find(value: string): Token | undefined {
    const token = this.#byName.get(value.slice(0, NAME_LENGTH));
    if (token === undefined) return undefined;
    const bytes = Buffer.from(value);
    return bytes.length === token.bytes.length && timingSafeEqual(bytes, token.bytes) ? token : undefined;
  }

  valueFor(backend: BackendView): string {
    return (this.#byBackend.get(backend) as Token).value;
  }
}

function keyedHash(secret: string, text: string): string {
  return createHmac('sha256', secret).update(text).digest('base64url');
}
