import { isIP } from 'node:net';
import { availableParallelism } from 'node:os';
import { assertTrustProxy } from '../../../index.ts';
import { leavesTime } from '../../../lifecycle/graceful-shutdown-options.ts';
import { type AcmeConfig, acmeFiles, acmeProblems, acmeVariables, readAcme } from '../../acme/acme-variables.ts';
import type { TlsFiles } from '../tls-files.ts';
import {
  durationMs,
  durationMsOrZero,
  file,
  got,
  integer,
  list,
  oneOf,
  onOrOff,
  optional,
  port,
  section,
} from '../variable.ts';

export interface ListenerConfig {
  readonly host: string;
  readonly port: number;
  /** Processes that serve traffic. With 1, the first process serves it. */
  readonly workers: number;
  /** Milliseconds after which a worker whose event loop stands still is killed; 0 is never. */
  readonly workerHangTimeoutMs: number;
  /** Whether a process that has loaded the program waits to take the place of a worker that dies. */
  readonly workerSpare: boolean;
  /** Files of each certificate and its key, the default certificate first. Without them the listener speaks plain HTTP. */
  readonly tls: readonly TlsFiles[] | undefined;
  /** Settings for the certificates that the gateway gets by itself. */
  readonly acme: AcmeConfig | undefined;
  /** File of the authorities whose client certificates are accepted; without it, the listener asks for none. */
  readonly clientCa: string | undefined;
  readonly clientCert: 'require' | 'request';
  /** Whether TLS clients may use HTTP/2. */
  readonly http2: boolean;
  /** Requests in progress on one connection of HTTP/2. */
  readonly maxConcurrentStreams: number;
  /** Addresses of load balancers that send the PROXY protocol; empty when it is off. */
  readonly proxyProtocol: readonly string[];
  /** The listener that redirects clients to https: its port, and the port in the URL if that is not the gateway's own. */
  readonly httpsRedirect: { readonly port: number; readonly toPort: number | undefined } | undefined;
  /** Value of the header `Strict-Transport-Security` (RFC 6797). */
  readonly strictTransportSecurity: string | undefined;
  readonly shutdownLeadMs: number;
  readonly shutdownTimeoutMs: number;
}

const MOST_WORKERS = 256;

/** A number, or `auto` for the number of cores of this process. */
function workers(text: string): number {
  if (text === 'auto') return Math.min(availableParallelism(), MOST_WORKERS);
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (value >= 1 && value <= MOST_WORKERS) return value;
  throw new Error(`must be auto or an integer from 1 to ${MOST_WORKERS}, ${got(text)}`);
}

/** An address to listen on. */
export function host(text: string): string {
  if (isIP(text) !== 0 || /^[\w.-]+$/.test(text)) return text;
  throw new Error(`must be an IP address or a host name, without port or brackets, ${got(text)}`);
}

/** Reports a variable that is set without the one that it needs. */
export const pair = (given: Readonly<Record<string, string>>, one: string, other: string): readonly string[] =>
  (given[one] === undefined) === (given[other] === undefined) ? [] : [`${one}: goes with ${other}`];

function peers(text: string): readonly string[] {
  const items = list(text);
  const expected = `must be a list of addresses, CIDR ranges and the names loopback, linklocal, uniquelocal, ${got(text)}`;
  try {
    if (items.length > 0) assertTrustProxy(items);
  } catch (cause) {
    throw new Error(expected, { cause });
  }
  return items;
}

/** RFC 6797 §6.1, and `preload`, which browsers require for their own lists. */
function strictTransportSecurity(text: string): string {
  if (/^max-age=\d{1,10}(?:; ?(?:includeSubDomains|preload)){0,2}$/i.test(text)) return text;
  throw new Error(`must be like max-age=31536000; includeSubDomains, ${got(text)}`);
}

/** Reports variables that have no effect with plain HTTP. */
function needingTls(given: Readonly<Record<string, string>>): readonly string[] {
  if (given.TLS_CERT !== undefined || given.ACME_DOMAINS !== undefined) return [];
  return ['TLS_CLIENT_CA', 'HTTP_REDIRECT_PORT', 'STRICT_TRANSPORT_SECURITY']
    .filter((name) => given[name] !== undefined)
    .map((name) => `${name}: needs TLS_CERT and TLS_KEY, or ACME_DOMAINS: the gateway speaks plain http`);
}

/** Pairs the files of two lists, by position. */
function unequal({ TLS_CERT, TLS_KEY }: Readonly<Record<string, string>>): readonly string[] {
  if (TLS_CERT === undefined || TLS_KEY === undefined) return [];
  const [certs, keys] = [list(TLS_CERT).length, list(TLS_KEY).length];
  return certs === keys ? [] : [`TLS_KEY: must have as many files as TLS_CERT, ${certs}, got ${keys}`];
}

function tlsFiles(
  certs: readonly string[],
  keys: readonly string[],
  acme: AcmeConfig | undefined,
): readonly TlsFiles[] | undefined {
  const given = certs.map((cert, index) => ({ cert, key: keys[index] ?? '' }));
  const all = acme === undefined ? given : [...given, ...acmeFiles(acme)];
  return all.length === 0 ? undefined : all;
}

export const listener = section(
  'The listener, its processes, and how they stop',
  {
    HOST: {
      text: 'Address to listen on: 0.0.0.0 is every IPv4 address of this machine, :: every address.',
      default: '0.0.0.0',
      read: host,
      takesEffect: 'restart',
    },
    PORT: { text: 'Port of the gateway; 0 takes any free one.', default: '8080', read: port, takesEffect: 'restart' },
    WORKERS: {
      text: `Processes that serve traffic: a number, or auto for as many as there are cores (docs/scaling.md). With more than one,
        SIGUSR2 replaces them one by one, without losing a request.`,
      default: '1',
      read: workers,
      takesEffect: 'restart',
    },
    WORKER_HANG_TIMEOUT_MS: {
      text: 'A worker whose event loop stands still for this long is killed and replaced, in milliseconds; 0 is never.',
      default: '30000',
      read: durationMsOrZero,
      takesEffect: 'restart',
    },
    WORKER_SPARE: {
      text: `With several WORKERS: whether one more process, which has loaded the program and serves nothing, waits to take the place of a
        worker that dies: on or off. It needs about as much memory as a worker at rest.`,
      default: 'on',
      read: onOrOff,
      takesEffect: 'restart',
    },
    TLS_CERT: {
      text: `PEM file of the certificate, followed by the intermediate certificates. With it and TLS_KEY the gateway speaks https;
        with both empty, plain http. Several, separated by commas, are for the names in each of them (SNI); a client that asks for
        another name gets the first (docs/listeners.md). Changed files are read again.`,
      read: list,
      takesEffect: 'reload',
    },
    TLS_KEY: {
      text: "PEM file of the certificate's key; of several, in the same order.",
      read: list,
      takesEffect: 'reload',
    },
    ...acmeVariables,
    TLS_CLIENT_CA: {
      text: `PEM file with the certificates of authorities: the gateway asks clients for a certificate of one of them, and tells backends about
        it in Client-Cert and X-Client-Cert-* (docs/listeners.md). A changed file is read again. Empty: it asks for none.`,
      read: optional(file),
      takesEffect: 'reload',
    },
    TLS_CLIENT_CERT: {
      text: `What happens to a client without such a certificate: require ends its connection in the TLS handshake; request serves it, and
        backends see X-Client-Cert-Verify: NONE or FAILED.`,
      default: 'require',
      read: oneOf('require', 'request'),
    },
    HTTP2: {
      text: `Whether clients may use HTTP/2 where the gateway speaks https, beside HTTP/1.1 on the same port: on or off. Plain http is
        always HTTP/1.1.`,
      default: 'on',
      read: onOrOff,
    },
    HTTP2_MAX_CONCURRENT_STREAMS: {
      text: `Requests in progress on one connection of HTTP/2; clients wait with more. Raise it for clients that keep many streams of gRPC
        open, such as proxies.`,
      default: '100',
      read: integer(1),
    },
    HTTP_REDIRECT_PORT: {
      text: `Port for plain http on which the gateway redirects every request to https (308), such as 80; 0 takes any free one. Empty: there
        is no such listener.`,
      read: optional(port),
      takesEffect: 'restart',
    },
    HTTP_REDIRECT_TO_PORT: {
      text: 'Port in the URL of those redirects, where clients reach the gateway on another port than PORT, such as 443.',
      read: optional(integer(1, 65_535)),
    },
    STRICT_TRANSPORT_SECURITY: {
      text: `Value of the header Strict-Transport-Security in responses over https, like max-age=31536000; includeSubDomains: browsers then
        use https only, for that many seconds. A backend that sends its own keeps it. Empty: the gateway adds none.`,
      read: optional(strictTransportSecurity),
    },
    PROXY_PROTOCOL: {
      text: `Load balancers that send the address of the client in a PROXY protocol header (version 1 or 2) before its bytes: a comma-separated
        list of addresses, CIDR ranges and the names loopback, linklocal, uniquelocal. The gateway closes connections from them without
        such a header, and accepts a header from no other peer (docs/listeners.md). Empty turns it off.`,
      read: peers,
    },
    SHUTDOWN_LEAD_MS: {
      text: `How long the gateway still serves everything after SIGTERM, in milliseconds, while /readyz already returns 503: as long
        as the load balancer in front takes to notice. It is a part of SHUTDOWN_TIMEOUT_MS.`,
      default: '0',
      read: durationMsOrZero,
      takesEffect: 'restart',
    },
    SHUTDOWN_TIMEOUT_MS: {
      text: `How long the gateway may take to stop after SIGTERM, in milliseconds, with the lead time. A second before the end (a
        fifth of the time, where that is less) it cuts what still runs.`,
      default: '10000',
      read: durationMs,
      takesEffect: 'restart',
    },
  },
  (read): ListenerConfig => ({
    acme: readAcme(read),
    host: read.HOST,
    port: read.PORT,
    workers: read.WORKERS,
    workerHangTimeoutMs: read.WORKER_HANG_TIMEOUT_MS,
    workerSpare: read.WORKER_SPARE,
    tls: tlsFiles(read.TLS_CERT, read.TLS_KEY, readAcme(read)),
    clientCa: read.TLS_CLIENT_CA,
    clientCert: read.TLS_CLIENT_CERT,
    http2: read.HTTP2,
    maxConcurrentStreams: read.HTTP2_MAX_CONCURRENT_STREAMS,
    httpsRedirect:
      read.HTTP_REDIRECT_PORT === undefined
        ? undefined
        : { port: read.HTTP_REDIRECT_PORT, toPort: read.HTTP_REDIRECT_TO_PORT },
    strictTransportSecurity: read.STRICT_TRANSPORT_SECURITY,
    proxyProtocol: read.PROXY_PROTOCOL,
    shutdownLeadMs: read.SHUTDOWN_LEAD_MS,
    shutdownTimeoutMs: read.SHUTDOWN_TIMEOUT_MS,
  }),
  (given) => [
    ...pair(given, 'TLS_CERT', 'TLS_KEY'),
    ...unequal(given),
    ...acmeProblems(given),
    ...needingTls(given),
    ...withoutTime(given),
  ],
);

/** A lead time that leaves no time for the requests. */
function withoutTime({
  SHUTDOWN_LEAD_MS: lead = '0',
  SHUTDOWN_TIMEOUT_MS: timeout = '10000',
}: Readonly<Record<string, string>>): string[] {
  // Texts that are no numbers are problems of their own.
  const [leadMs, timeoutMs] = [Number(lead), Number(timeout)];
  if (!(leadMs >= 0 && timeoutMs > 0) || leavesTime(leadMs, timeoutMs)) return [];
  return [`SHUTDOWN_LEAD_MS: must leave some of SHUTDOWN_TIMEOUT_MS for the requests, got ${lead} of ${timeout}`];
}
