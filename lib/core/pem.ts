import { createPrivateKey, X509Certificate } from 'node:crypto';
import { createSecureContext } from 'node:tls';

export type Pem = string | Buffer;

/** A certificate and its private key. */
export interface PemPair {
  readonly cert: Pem;
  readonly key: Pem;
  readonly passphrase?: string | undefined;
}

/** What is wrong with a pair, in words for the person who gave it: texts of OpenSSL name neither the file nor what to do. */
export interface PemFault {
  /** The part to correct. */
  readonly part: keyof Pick<PemPair, 'cert' | 'key'> | 'pair';
  /** The rest of a sentence that begins with that part. */
  readonly text: string;
}

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g;
const BEGINS_CERTIFICATE = /-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----/;
const PRIVATE_KEY = /-----BEGIN (?:[A-Z0-9]+ )?PRIVATE KEY-----/;
const ENCRYPTED_KEY = /-----BEGIN ENCRYPTED PRIVATE KEY-----|^Proc-Type: 4,ENCRYPTED/m;

/** `undefined` for a pair that TLS can use. */
export function pairFault({ cert, key, passphrase }: PemPair): PemFault | undefined {
  const withPassphrase = passphrase === undefined ? {} : { passphrase };
  try {
    createSecureContext({ cert, key, ...withPassphrase });
    return undefined;
  } catch (error) {
    const text = certificateFault(cert);
    if (text !== undefined) return { part: 'cert', text };
    return keyFault({ cert, key, passphrase }) ?? { part: 'pair', text: `cannot be used: ${(error as Error).message}` };
  }
}

/** The blocks of a list of authorities, or why there are none. Node ignores what it cannot read in one, and then accepts no certificate. */
export function authoritiesIn(
  ca: Pem,
): { readonly certificates: readonly X509Certificate[] } | { readonly text: string } {
  const blocks = textOf(ca).match(CERTIFICATE);
  if (blocks === null) return { text: certificateFault(ca) ?? DAMAGED };
  try {
    return { certificates: blocks.map((block) => new X509Certificate(block)) };
  } catch {
    return { text: DAMAGED };
  }
}

const DAMAGED = 'has a damaged certificate: copy the whole file again';

function certificateFault(cert: Pem): string | undefined {
  const text = textOf(cert);
  if (!BEGINS_CERTIFICATE.test(text)) {
    return `has no certificate in PEM form${PRIVATE_KEY.test(text) ? ', but a private key' : nextStep(cert, 'x509')}`;
  }
  try {
    new X509Certificate(cert);
    return undefined;
  } catch {
    return DAMAGED;
  }
}

function keyFault({ cert, key, passphrase }: PemPair): PemFault | undefined {
  const text = textOf(key);
  if (!PRIVATE_KEY.test(text)) {
    const more = BEGINS_CERTIFICATE.test(text) ? ', but a certificate' : nextStep(key, 'pkey');
    return { part: 'key', text: `has no private key in PEM form${more}` };
  }
  try {
    const privateKey = createPrivateKey({ key, ...(passphrase === undefined ? {} : { passphrase }) });
    if (new X509Certificate(cert).checkPrivateKey(privateKey)) return undefined;
    return { part: 'pair', text: 'the key does not belong to the certificate' };
  } catch {
    if (!ENCRYPTED_KEY.test(text)) return { part: 'key', text: 'has a damaged private key: copy the whole file again' };
    const wrong = passphrase === undefined ? 'is encrypted: decrypt it with openssl pkey' : 'has another passphrase';
    return { part: 'key', text: wrong };
  }
}

const textOf = (pem: Pem): string => (typeof pem === 'string' ? pem : pem.toString('latin1'));

/** What a PKCS #12 file (.p12, .pfx) begins with, after the length: version 3 (RFC 7292 §4). */
const PKCS12_VERSION = Buffer.from([2, 1, 3]);
const PKCS12_PARTS = { x509: '-nokeys', pkey: '-nocerts -nodes' };

/** @param command That of openssl which reads such a file. */
function nextStep(pem: Pem, command: keyof typeof PKCS12_PARTS): string {
  if (typeof pem === 'string') return pem.includes('\n') ? '' : ': give the text of a PEM file, not its path';
  // DER begins with a sequence of ASN.1.
  if (pem[0] !== 0x30) return '';
  // The lowest bits of a long length count its bytes (X.690 §8.1.3.5); of an indefinite one there are none.
  const [, length = 0] = pem;
  const content = pem.subarray(2 + (length < 0x80 ? 0 : length & 0x7f));
  if (content.subarray(0, PKCS12_VERSION.length).equals(PKCS12_VERSION))
    return `: it is PKCS #12, convert it with openssl pkcs12 ${PKCS12_PARTS[command]}`;
  return `: convert it with openssl ${command} -inform der`;
}
