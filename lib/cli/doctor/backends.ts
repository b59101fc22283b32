import { authorityOf } from '../../backends/backend.ts';
import type { BackendConfig } from '../../backends/backend-url.ts';
import { isOwnAddress } from '../../backends/own-address.ts';
import type { Config } from '../../gateway/config/config.ts';
import { checkHeaders } from '../../proxy/transport/http2-probe.ts';
import { asOf, type BackendGroup, backendGroups, foundBackends } from './backend-group.ts';
import { type BackendProbeOptions, ProbeError, type ProbeResult, probeBackend } from './backend-probe.ts';
import { type Check, type Finding, failure, ok, warning } from './finding.ts';

/** Backends that are tested at the same time. */
const AT_A_TIME = 20;
const SOON_MS = 14 * 86_400_000;

const FIXES: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'Start it, or correct the port; inside a container, localhost is the container itself',
  ENOTFOUND: 'Correct the name; a name that only DNS knows may need dns://name:port',
  ETIMEDOUT: 'Look for a firewall or a network policy on the way',
  EHOSTUNREACH: 'There is no route to it: look at the network',
  ENETUNREACH: 'There is no route to it: look at the network',
  ECONNRESET: 'It closes the connection: http and https may be mixed up in its URL',
  EPROTO: 'It does not speak TLS there: http and https may be mixed up in its URL',
  ERR_SSL_PACKET_LENGTH_TOO_LONG: 'It does not speak TLS there: http and https may be mixed up in its URL',
  ERR_SSL_WRONG_VERSION_NUMBER: 'It does not speak TLS there: http and https may be mixed up in its URL',
  ERR_TLS_CERT_ALTNAME_INVALID: 'Name it in BACKENDS as its certificate does',
  CERT_HAS_EXPIRED: 'Renew its certificate',
};

/** For codes of which there are many. */
const FIX_PATTERNS: readonly (readonly [RegExp, string])[] = [
  [/^HPE_/, 'It does not speak HTTP/1.1 there: for HTTP/2, as gRPC speaks it, set BACKEND_PROTOCOL=http2'],
  [
    /^(?:UNABLE_TO_|SELF_SIGNED|DEPTH_ZERO)/,
    'Name the authority that has signed its certificate in BACKEND_CA, as PEM',
  ],
  // Alerts such as "certificate required", "bad certificate" and "unknown CA". With TLS 1.2, a missing one is a "handshake failure".
  [
    /^(?:REFUSED|ERR_SSL_.*_ALERT_(?:.*CERTIFICATE.*|UNKNOWN_CA|HANDSHAKE_FAILURE|ACCESS_DENIED))$/,
    'It refuses the certificate of the gateway: set BACKEND_CERT and BACKEND_KEY, or renew them',
  ],
];

/** Whether each backend can be reached in the way that the gateway would, and how its health path responds. */
export const backends: Check = {
  name: 'backends',
  async run({ config }) {
    let groups: readonly BackendGroup[];
    try {
      groups = await backendGroups(config);
    } catch (error) {
      return [failure((error as Error).message)];
    }
    const findings: Finding[] = [];
    const all: (readonly [BackendGroup, BackendConfig])[] = [];
    for (const group of groups) {
      const { backends: found, problems } = await foundBackends(group);
      all.push(...found.map((backend) => [group, backend] as const));
      findings.push(...problems.map((problem) => asOf(group, problem)));
    }
    for (let i = 0; i < all.length; i += AT_A_TIME) {
      const some = all.slice(i, i + AT_A_TIME).map(async ([group, backend]) => {
        const found = await look(backend, config, group);
        return found.map((finding) => asOf(group, finding));
      });
      findings.push(...(await Promise.all(some)).flat());
    }
    return findings;
  },
};

async function look(backend: BackendConfig, { host, port }: Config, group: BackendGroup): Promise<Finding[]> {
  const { url, name, weight } = backend;
  const { tls, serverName = name, isHttp2, connectTimeoutMs, health } = group;
  const what = name === undefined ? url.origin : `${url.origin} (${name})`;
  if (isOwnAddress(url.origin, { address: host, port })) {
    return [failure(`${what} is the gateway itself (PORT=${port})`, 'Remove it from BACKENDS, or correct its port')];
  }
  const options: BackendProbeOptions = {
    tls,
    name: serverName,
    connectTimeoutMs,
    // The doctor speaks HTTP/1.1: of a backend over HTTP/2 it sees whether it can be reached.
    path: isHttp2 ? undefined : health.path,
    headers: checkHeaders(authorityOf(backend), health.headers),
    responseTimeoutMs: health.timeoutMs,
  };
  try {
    return [...judge(what, await probeBackend(url, options), group), ...idle(what, weight)];
  } catch (error) {
    if (!(error instanceof ProbeError)) throw error;
    return [failed(what, error, group)];
  }
}

function judge(
  what: string,
  { connectMs, validTo, status, responseMs }: ProbeResult,
  { health }: BackendGroup,
): Finding[] {
  const findings: Finding[] = [];
  const connected = `${what}: connected in ${connectMs.toFixed(1)} ms`;
  if (status === undefined) {
    findings.push(ok(connected));
  } else if (status >= 200 && status < 300) {
    findings.push(ok(`${connected}, ${health.path} responded with ${status} in ${responseMs.toFixed(1)} ms`));
  } else {
    findings.push(
      failure(
        `${connected}, but ${health.path} responded with ${status}: health checks would take it out`,
        'Set HEALTH_CHECK_PATH to a path that returns 200 to 299 while the backend is healthy',
      ),
    );
  }
  if (validTo !== undefined && Date.parse(validTo) - Date.now() < SOON_MS) {
    findings.push(warning(`${what}: its certificate ends on ${validTo}`, 'Renew it'));
  }
  return findings;
}

const idle = (what: string, weight: number): Finding[] =>
  weight === 0
    ? [warning(`${what}: its weight is 0, so it gets no traffic`, 'Set a weight above 0 when it is to get requests')]
    : [];

function failed(
  what: string,
  { step, code, message }: ProbeError,
  { connectTimeoutMs, health }: BackendGroup,
): Finding {
  if (code === 'ETIMEDOUT') {
    const time =
      step === 'connect'
        ? `no connection within ${connectTimeoutMs} ms (CONNECT_TIMEOUT_MS)`
        : `no response to ${health.path} within ${health.timeoutMs} ms (HEALTH_CHECK_TIMEOUT_MS)`;
    return failure(
      `${what}: ${time}`,
      step === 'connect' ? FIXES.ETIMEDOUT : 'Find out why it is slow, or raise this time',
    );
  }
  const fix = FIXES[code] ?? FIX_PATTERNS.find(([pattern]) => pattern.test(code))?.[1];
  return failure(`${what}: ${step === 'connect' ? 'no connection' : 'no response'}: ${message || code}`, fix);
}
