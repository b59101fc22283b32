import type { X509Certificate } from 'node:crypto';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import { tlsSocketOf } from '../core/connection.ts';

/**
 * Facts of a client certificate that a backend can get:
 *
 * - `certificate`: the certificate itself, as `Client-Cert` has it (RFC 9440)
 * - `subject`, `issuer`: a distinguished name like `CN=alice,O=Acme,C=SI` (RFC 4514)
 * - `serial`: the serial number in hexadecimal digits
 * - `fingerprint`: SHA-256 of the certificate in hexadecimal digits
 * - `verify`: `SUCCESS`, `NONE` without a certificate, or `FAILED:` with the reason of OpenSSL
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

/** The facts of a connection without a client certificate. */
export const NO_CERTIFICATE: Facts = Object.freeze({ verify: 'NONE' });

const kCertificate = Symbol('expressway.clientCertificate');

type WithCertificate = TLSSocket & { [kCertificate]?: ClientCertificate | null };

/** The certificate that the client of a connection has shown in its TLS handshake. */
export class ClientCertificate {
  /**
   * The hostname that the client asked for (SNI), empty for none. `undefined` if it is unknown: Node does not know it for a resumed TLS 1.2
   * session.
   */
  readonly servername: string | undefined;
  readonly #facts: Facts;
  /** Why OpenSSL did not verify it. */
  readonly #failure: string | undefined;
  /** Milliseconds as of `Date.now()`. */
  readonly #expiresAt: number;

  constructor(socket: TLSSocket, certificate: X509Certificate) {
    const { raw, fingerprint256, serialNumber, subject, issuer, validTo } = certificate;
    // With TLS 1.2, a client could otherwise show another certificate later, in a second handshake.
    socket.disableRenegotiation();
    // Its type is `Error`, but Node sets a code. Node keeps the code even with `authorized`, when a second handshake failed.
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

  /** Whether a trusted authority has issued it, and it is still valid: a connection may outlive its certificate. */
  get isVerified(): boolean {
    return this.#reason === undefined;
  }

  /**
   * An unverified certificate has only its fingerprint here. The client has proved that it owns the key, but may have made up all the
   * rest.
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
    // `authorized` alone does not say whether there is a certificate.
    const certificate = socket.getPeerX509Certificate();
    socket[kCertificate] = certificate === undefined ? null : new ClientCertificate(socket, certificate);
  }
  return socket[kCertificate] ?? undefined;
}

function knownServername(socket: TLSSocket): string | undefined {
  // Despite its type, it is `false` without a server name.
  if (socket.servername) return socket.servername.toLowerCase();
  return socket.isSessionReused() && socket.getProtocol() !== 'TLSv1.3' ? undefined : '';
}

/**
 * A distinguished name in one line (RFC 4514). Node returns one line per part, in order, and escapes special characters. It does not
 * escape non-ASCII letters and a space at the end, which headers must not have.
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
