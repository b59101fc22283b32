import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';
import type { Exchange } from '../core/exchange.ts';
import { eventsCheck, GatewayEvents } from '../core/gateway-events.ts';
import { hostnameOf, notPromise, TOKEN } from '../core/http.ts';
import { boolean, type Check, type Checks, func, oneOf, optional, recordOf, resolveOptions } from '../core/options.ts';
import { named } from '../core/thrown-by.ts';
import { type Authentication, type AuthenticationMiddleware, authenticates, type Refused } from './authentication.ts';
import {
  CERTIFICATE_FACTS,
  type CertificateFact,
  type ClientCertificate,
  clientCertificateOn,
  NO_CERTIFICATE,
} from './client-certificate.ts';

/** Options of {@link clientCertAuth}. */
export interface ClientCertAuthOptions {
  /** Whether a request without a verified certificate is rejected (403). Default `true`. */
  required?: boolean;
  /**
   * Request headers for the backend with facts of the certificate. Headers of the client under these names are always removed. Default `{ 'client-cert': 'certificate', 'x-client-cert-verify': 'verify',
   * 'x-client-cert-subject': 'subject', 'x-client-cert-fingerprint': 'fingerprint' }`.
   */
  headers?: Readonly<Record<string, CertificateFact>>;
  /**
   * Decides whether a certificate for one server name (SNI, empty for none) counts for requests to a host, both in lower case. If not,
   * the request gets 421. Default: both must be the same, or the host is an IP address and there is no server name.
   */
  isSameHost?: (servername: string, host: string) => boolean;
  /** Emitter of the event `rejected`. Default: a new one, as `events` of the result. */
  events?: GatewayEvents;
}

/** Defaults of {@link ClientCertAuthOptions}. */
export const clientCertAuthDefaults = Object.freeze({
  required: true,
  headers: Object.freeze({
    'client-cert': 'certificate',
    'x-client-cert-verify': 'verify',
    'x-client-cert-subject': 'subject',
    'x-client-cert-fingerprint': 'fingerprint',
  }) as Readonly<Record<string, CertificateFact>>,
});

const headersCheck: Check = recordOf('fact of the certificate', oneOf(...CERTIFICATE_FACTS), TOKEN, 'a header name');

export const clientCertAuthChecks: Checks<ClientCertAuthOptions> = {
  required: boolean,
  headers: headersCheck,
  isSameHost: optional(func),
  events: optional(eventsCheck),
};

const ABSOLUTE = /^https?:\/\/([^/?#]*)/i;

/** The hostname of a request: that of its target if there is one (RFC 9112 §3.2.2), else that of `Host`. */
const hostOf = ({ url = '', headers }: IncomingMessage): string =>
  hostnameOf(ABSOLUTE.exec(url)?.[1] ?? headers.host ?? '');

const ASKED = 'clientCertAuth: isSameHost()';

const isNamed = (servername: string, host: string): boolean =>
  servername === host || (servername === '' && isIP(host.replace(/^\[(.*)\]$/, '$1')) > 0);

const refused = (cause: Refused['outcome']['cause'], detail: string): Refused => ({
  kind: 'refused',
  outcome: { kind: 'rejected', cause, detail },
});

/**
 * Passes facts of the client's TLS certificate to backends, and rejects requests without a certificate from a trusted authority. The
 * server has to request certificates: `createServer({ requestCert: true, rejectUnauthorized: false, ca, … })`
 * of `node:https`, always with `ca`. The consumer is the subject of the certificate.
 *
 * @throws {OptionsError} that names each unknown key and each bad value.
 */
export function clientCertAuth(given?: ClientCertAuthOptions): AuthenticationMiddleware {
  const options = resolveOptions('clientCertAuth', given, clientCertAuthDefaults, clientCertAuthChecks);
  const { required, events = new GatewayEvents() } = options;
  const isSameHost = options.isSameHost === undefined ? isNamed : named(ASKED, options.isSameHost);
  const wanted = Object.entries(options.headers);

  function judge({ req }: Exchange): Authentication {
    const certificate = clientCertificateOn(req.socket);
    if (certificate !== undefined && isMisdirected(certificate, hostOf(req))) {
      return refused(
        'misdirected_request',
        'The client certificate belongs to a connection for another host: use a new connection.',
      );
    }
    const facts = certificate?.facts ?? NO_CERTIFICATE;
    const isVerified = certificate?.isVerified === true;
    if (required && !isVerified) {
      return refused('client_denied', `A client certificate is needed. This connection has: ${facts.verify}.`);
    }
    return {
      kind: 'authenticated',
      consumer: isVerified ? { name: facts.subject || (facts.fingerprint as string) } : undefined,
      // A backend would believe a chain that the client sent (RFC 9440 §2.3).
      headers: {
        'client-cert-chain': undefined,
        ...Object.fromEntries(wanted.map(([name, fact]) => [name, facts[fact]])),
      },
    };
  }

  /** A request without a host fits every certificate. */
  const isMisdirected = ({ servername }: ClientCertificate, host: string): boolean =>
    servername !== undefined && host !== '' && !notPromise(isSameHost(servername, host), ASKED);

  return authenticates(events, judge);
}
