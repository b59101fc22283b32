import type { ServerOptions } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { SecureContext } from 'node:tls';
import { clientCertAuth, type GatewayEvents, http2Server, type Middleware } from '../index.ts';
import { acmeStore } from './acme/acme-certificates.ts';
import { respondToAlpnChallenges } from './acme/alpn-challenges.ts';
import { type Certificates, readCertificates } from './config/certificates.ts';
import type { Config } from './config/config.ts';
import type { TlsFiles } from './config/tls-files.ts';

/** As long as a request's head may take, by default. */
const HANDSHAKE_TIMEOUT_MS = 15_000;

/** A listener that speaks TLS, and its certificates, which can change. */
export class TlsListener {
  readonly server: Server;
  /** Passes the certificates of clients to backends; `undefined` if the listener asks for no certificate. */
  readonly clientCertAuth: Middleware | undefined;
  #certificates: Certificates;

  /** @throws {TlsFilesError} when the files cannot be used. */
  constructor(config: Config, files: readonly TlsFiles[], made: ServerOptions, events: GatewayEvents) {
    const { clientCa, clientCert, maxConcurrentStreams } = config;
    this.#certificates = readCertificates(files, clientCa);
    const server = createServer({
      ...made,
      ...this.#certificates.defaults,
      requestCert: clientCa !== undefined,
      rejectUnauthorized: clientCert === 'require',
      handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
      // Node alone would refuse clients that offer HTTP/1.0 only.
      ALPNProtocols: ['http/1.1', 'http/1.0'],
      SNICallback: (name, done: (error: Error | null, context?: SecureContext) => void) =>
        done(null, this.#certificates.contextFor(name)),
    });
    if (config.acme?.challenge === 'tls-alpn-01') {
      respondToAlpnChallenges(server, acmeStore(config.acme, config.redisUrl), HANDSHAKE_TIMEOUT_MS);
    }
    this.clientCertAuth =
      clientCa === undefined
        ? undefined
        : clientCertAuth({
            required: clientCert === 'require',
            isSameHost: (servername, host) =>
              this.#certificates.contextFor(servername) === this.#certificates.contextFor(host),
            events,
          });
    this.server = config.http2 ? http2Server(server, { maxConcurrentStreams, events }) : server;
  }

  get certificates(): Certificates {
    return this.#certificates;
  }

  /** Connections that are open keep what they have agreed on; new ones get the new certificates. */
  use(certificates: Certificates): void {
    this.#certificates = certificates;
    this.server.setSecureContext(certificates.defaults);
  }
}
