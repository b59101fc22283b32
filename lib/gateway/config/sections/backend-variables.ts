import { Resolver } from 'node:dns';
import { assertBackends, type BackendOptions, type BackendProtocol, OptionsError } from '../../../index.ts';
import type { BackendTlsFiles } from '../tls-files.ts';
import { durationMs, file, got, ofOneService, oneOf, onOrOff, optional, section } from '../variable.ts';
import { pair } from './listener-variables.ts';

export interface BackendsConfig {
  /** Origins, like `http://localhost:8081`, and names that are looked up. */
  readonly backends: readonly (string | BackendOptions)[];
  /** JSON file whose list of backends replaces `backends`. */
  readonly backendsFile: string | undefined;
  /** Files for backends over https: authorities to trust, and the certificate that the gateway shows them. */
  readonly backendTls: BackendTlsFiles;
  readonly backendProtocol: BackendProtocol;
  /** Whether backends get their own authority as `Host`. */
  readonly changeOrigin: boolean;
  /** How names are looked up. Without `servers`, the system's own name servers are asked. */
  readonly dns: { readonly refreshMs: number; readonly servers: readonly string[] | undefined };
}

export const backends = section(
  'Backends',
  ofOneService({
    BACKENDS: {
      text: `The backends, comma-separated origins (http or https, no path, no credentials). Or names whose addresses are one backend
        each: dns://name:port and dns+https://name:port (A and AAAA records), srv://name (SRV records). A weight may follow, from 0
        (out of rotation) to 1000: http://localhost:8081;weight=3 (1 without it). ;keepAlive=false gives each request a connection of
        its own, for backends that are not trusted to answer the right request.`,
      default: 'http://localhost:8081,http://localhost:8082',
      read: origins,
      takesEffect: 'reload',
    },
    BACKENDS_FILE: {
      text: `JSON file with the backends instead: ["http://a:8081", {"url": "http://b:8082", "weight": 2}]. The gateway watches it; it
        refuses a bad file as a whole, and the backends stay as they are. Its path changes only at a restart.`,
      read: optional(file),
      takesEffect: 'restart',
    },
    BACKEND_PROTOCOL: {
      text: `What backends speak: http1, or http2, which gRPC needs (docs/grpc.md). HTTP/2 is agreed on by TLS with https://, and used with
        prior knowledge (h2c) with http://.`,
      default: 'http1',
      read: oneOf('http1', 'http2'),
    },
    CHANGE_ORIGIN: {
      text: `Whether (on) each backend gets its own name as Host, and not the host that the client asked. A site that the gateway reaches
        over the internet mostly needs it, and responds with 403, 404 or 421 without it. Its redirects and cookies come back to the host
        that the client asked.`,
      default: 'off',
      read: onOrOff,
    },
    BACKEND_CA: {
      text: "For backends over https: PEM file of the authorities to trust, in place of the system's.",
      read: optional(file),
      takesEffect: 'reload',
    },
    BACKEND_CERT: {
      text: 'PEM file of the certificate that the gateway shows to backends (mutual TLS).',
      read: optional(file),
      takesEffect: 'reload',
    },
    BACKEND_KEY: { text: "PEM file of that certificate's key.", read: optional(file), takesEffect: 'reload' },
    DNS_REFRESH_MS: {
      text: 'How often names are looked up again, in milliseconds; sooner when the TTL of a record ends.',
      default: '30000',
      read: durationMs,
    },
    DNS_SERVERS: {
      text: "Name servers to ask, comma-separated addresses like 10.0.0.2 or 127.0.0.1:8600; empty for the system's own.",
      read: optional(dnsServers),
    },
  }),
  (read): BackendsConfig => ({
    backends: read.BACKENDS,
    backendsFile: read.BACKENDS_FILE,
    backendTls: { ca: read.BACKEND_CA, cert: read.BACKEND_CERT, key: read.BACKEND_KEY },
    backendProtocol: read.BACKEND_PROTOCOL,
    changeOrigin: read.CHANGE_ORIGIN,
    dns: { refreshMs: read.DNS_REFRESH_MS, servers: read.DNS_SERVERS },
  }),
  (given) => pair(given, 'BACKEND_CERT', 'BACKEND_KEY'),
);

/** One or more backends, each with or without `;weight=<n>` and `;keepAlive=false`. The package decides which ones are usable. */
function origins(text: string): readonly (string | BackendOptions)[] {
  const problems: string[] = [];
  const found: (string | BackendOptions)[] = [];
  for (const item of text.split(',')) {
    const read = readItem(item.trim());
    if ('problem' in read) problems.push(read.problem);
    else found.push(Object.keys(read).length === 1 ? read.url : read);
  }
  if (found.length > 0) problems.push(...problemsWith(found));
  if (problems.length === 0) return found;
  throw new Error(`must be a comma-separated list of URLs like http://localhost:8081: ${problems.join(', ')}`);
}

function readItem(item: string): BackendOptions | { readonly problem: string } {
  const [text = '', ...parameters] = item.split(';').map((part) => part.trim());
  if (text === '') return { problem: 'an item is empty' };
  const url = canonical(text);
  if (parameters.length === 0) return { url };
  const [, weight, keepAlive] =
    /^(?:weight=(\d{1,4})(?:;(?=k)|$))?(?:keepAlive=(true|false))?$/.exec(parameters.join(';')) ?? [];
  if (weight !== undefined || keepAlive !== undefined) {
    return {
      url,
      ...(weight === undefined ? {} : { weight: Number(weight) }),
      ...(keepAlive === undefined ? {} : { keepAlive: keepAlive === 'true' }),
    };
  }
  // Not shown if it may contain a password.
  const name = text.includes('@') ? 'a backend' : url;
  return { problem: `${name} may be followed by ;weight= and a number, then by ;keepAlive=false, and by nothing else` };
}

/** A URL as status and log show it, if it is an origin. */
function canonical(text: string): string {
  if (/^(?:dns|srv)[:+]/i.test(text)) return text.toLowerCase().replace(/\/$/, '');
  if (!URL.canParse(text)) return text;
  const { origin, href } = new URL(text);
  return href === `${origin}/` ? origin : text;
}

/** Problems of a list of backends. */
function problemsWith(found: readonly (string | BackendOptions)[]): readonly string[] {
  try {
    assertBackends(found);
    return [];
  } catch (error) {
    return error instanceof OptionsError ? error.problems : [String(error)];
  }
}

function dnsServers(text: string): readonly string[] {
  const servers = text.split(',').map((item) => item.trim());
  try {
    new Resolver().setServers(servers);
  } catch {
    throw new Error(`must be a comma-separated list of IP addresses, with or without a port, ${got(text)}`);
  }
  return servers;
}
