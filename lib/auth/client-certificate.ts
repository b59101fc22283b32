import type { X509Certificate } from 'node:crypto';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import { tlsSocketOf } from '../core/connection.ts';

/**
 * What a backend can learn of a client certificate:
 *
 * - `certificate`: the certificate itself, as `Client-Cert` has it (RFC 9440)
 * - `subject`, `issuer`: a distinguished name like `CN=alice,O=Acme,C=SI` (RFC 4514)
 * - `serial`: the serial number in hexadecimal digits
 * - `fingerprint`: SHA-256 of the certificate in hexadecimal digits
 * - `verify`: `SUCCESS`, `NONE` where the client has shown none, or `FAILED:` with the reason of OpenSSL
 */
export type CertificateFact = 'certificate' | 'fingerprint' | 'issuer' | 'serial' | 'subject' | 'verify';

export const CERTIFICATE_FACTS: readonly CertificateFact[] = [
  'certificate',
  'fingerprint',
  'issuer',
  'serial',
  'subject',
  'verify',
];

type Facts = Readonly<Partial<Record<CertificateFact, string>>>;

/** Where the client has shown none. */
export const NO_CERTIFICATE: Facts = Object.freeze({ verify: 'NONE' });

const kCertificate = Symbol('expressway.clientCertificate');

type WithCertificate = TLSSocket & { [kCertificate]?: ClientCertificate | null };

/** The certificate that the client of a connection has shown in its TLS handshake. */
export class ClientCertificate {
  /**
   * The hostname that the client asked for (SNI), empty for none. Nothing where that is unknown: Node does not know it of a session of TLS 1.2
   * that was resumed.
   */
  readonly servername: string | undefined;
  readonly #facts: Facts;
  /** Why OpenSSL did not verify it. */
  readonly #failure: string | undefined;
  /** Milliseconds as of `Date.now()`. */
  readonly #expiresAt: number;

  constructor(socket: TLSSocket, certificate: X509Certificate) {
    const { raw, fingerprint256, serialNumber, subject, issuer, validTo } = certificate;
    // What was read must stay true: with TLS 1.2, a client could show another certificate in a second handshake.
    socket.disableRenegotiation();
    // Its types say `Error`; Node sets a code, and keeps it beside `authorized` when a second handshake failed.
    const { authorized, authorizationError } = socket;
    this.#failure = authorized && !authorizationError ? undefined : String(authorizationError ?? 'UNSPECIFIED');
    this.#expiresAt = Date.parse(validTo);
    this.servername = knownServername(socket);
    this.#facts = {
      certificate: `:${raw.toString('base64')}:`,
      fingerprint: fingerprint256.replaceAll(':', '').toLowerCase(),
      issuer: distinguishedName(issuer),
      serial: serialNumber.toLowerCase(),
      subject: distinguishedName(subject),
      verify: 'SUCCESS',
    };
  }

  /** Whether an authority that the server trusts has issued it, and it is still valid: a connection, or a session, may outlive it. */
  get isVerified(): boolean {
    return this.#reason === undefined;
  }

  /**
   * Of one that is not verified, only the fingerprint: the client has shown that it owns the key, and everything else in it may be made
   * up.
   */
  get facts(): Facts {
    const reason = this.#reason;
    if (reason === undefined) return this.#facts;
    return { fingerprint: this.#facts.fingerprint as string, verify: `FAILED:${reason}` };
  }

  get #reason(): string | undefined {
    return this.#failure ?? (Date.now() >= this.#expiresAt ? 'CERT_HAS_EXPIRED' : undefined);
  }
}

/** The certificate of the client at the other end of a connection, if it has shown one. */
export function clientCertificateOn(connection: Duplex | null | undefined): ClientCertificate | undefined {
  const socket = tlsSocketOf(connection) as WithCertificate | undefined;
  if (socket === undefined) return undefined;
  if (socket[kCertificate] === undefined) {
    // Not by `authorized` alone, which is about a certificate only where there is one.
    const certificate = socket.getPeerX509Certificate();
    socket[kCertificate] = certificate === undefined ? null : new ClientCertificate(socket, certificate);
  }
  return socket[kCertificate] ?? undefined;
}

function knownServername(socket: TLSSocket): string | undefined {
  // `false` for none, whatever its types say.
  if (socket.servername) return socket.servername.toLowerCase();
  return socket.isSessionReused() && socket.getProtocol() !== 'TLSv1.3' ? undefined : '';
}

/**
 * A distinguished name in one line (RFC 4514). Node gives a line for each of its parts, the first one first, with special characters
 * escaped; letters beyond ASCII are not, which headers cannot have, nor an (escaped) space at their end.
 */
function distinguishedName(lines: string | undefined): string {
  const parts = (lines ?? '').split('\n').reverse();
  return parts
    .map((part) => part.replaceAll(' + ', '+'))
    .join()
    .replace(/ $/, '20')
    .replaceAll(/[^\x20-\x7e]/gu, (letter) =>
      Buffer.from(letter).toString('hex').toUpperCase().replaceAll(/../g, '\\$&'),
    );
}
