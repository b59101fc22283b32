import { authorityOf } from '../../backends/backend.ts';
import type { BackendConfig } from '../../backends/backend-url.ts';
import { isOwnAddress } from '../../backends/own-address.ts';
import type { Config } from '../../gateway/config/config.ts';
import {
  type BackendProbeOptions,
  configuredBackends,
  ProbeError,
  type ProbeResult,
  probeBackend,
} from './backend-probe.ts';
import { type Check, type Finding, failure, ok, type Patient, warning } from './finding.ts';

type CommonOptions = Omit<BackendProbeOptions, 'name' | 'authority'>;

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
    'Set BACKEND_CA to the PEM file of the authority that has signed its certificate',
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
  async run(patient) {
    const { backends: list, problems } = await configuredBackends(patient);
    const options = await probeOptions(patient.config);
    if (typeof options === 'string') return [failure(options)];
    const findings: Finding[] = [...problems];
    for (let i = 0; i < list.length; i += AT_A_TIME) {
      const some = list.slice(i, i + AT_A_TIME);
      findings.push(...(await Promise.all(some.map((backend) => look(backend, patient, options)))).flat());
    }
    return findings;
  },
};

/** Gives an error text if the files for TLS cannot be used. */
async function probeOptions(config: Config): Promise<CommonOptions | string> {
  const { backendTls, backendProtocol, connectTimeoutMs, healthCheck } = config;
  const { readBackendTls } = await import('../../gateway/config/tls-files.ts');
  let tls: object;
  try {
    tls = readBackendTls(backendTls);
  } catch (error) {
    return (error as Error).message;
  }
  // The doctor speaks HTTP/1.1: of a backend over HTTP/2 it sees whether it can be reached.
  const path = backendProtocol === 'http2' ? undefined : healthCheck.path;
  return { tls, connectTimeoutMs, path, responseTimeoutMs: healthCheck.timeoutMs };
}

async function look(backend: BackendConfig, { config }: Patient, options: CommonOptions): Promise<Finding[]> {
  const { url, name, weight } = backend;
  const what = name === undefined ? url.origin : `${url.origin} (${name})`;
  if (isOwnAddress(url.origin, { address: config.host, port: config.port })) {
    return [
      failure(`${what} is the gateway itself (PORT=${config.port})`, 'Remove it from BACKENDS, or correct its port'),
    ];
  }
  try {
    return [
      ...judge(what, await probeBackend(url, { ...options, name, authority: authorityOf(backend) }), config),
      ...idle(what, weight),
    ];
  } catch (error) {
    if (!(error instanceof ProbeError)) throw error;
    return [failed(what, error, config)];
  }
}

function judge(
  what: string,
  { connectMs, validTo, status, responseMs }: ProbeResult,
  { healthCheck }: Config,
): Finding[] {
  const findings: Finding[] = [];
  const connected = `${what}: connected in ${connectMs.toFixed(1)} ms`;
  if (status === undefined) {
    findings.push(ok(connected));
  } else if (status >= 200 && status < 300) {
    findings.push(ok(`${connected}, ${healthCheck.path} responded with ${status} in ${responseMs.toFixed(1)} ms`));
  } else {
    findings.push(
      failure(
        `${connected}, but ${healthCheck.path} responded with ${status}: health checks would take it out`,
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

function failed(what: string, { step, code, message }: ProbeError, { connectTimeoutMs, healthCheck }: Config): Finding {
  if (code === 'ETIMEDOUT') {
    const time =
      step === 'connect'
        ? `no connection within ${connectTimeoutMs} ms (CONNECT_TIMEOUT_MS)`
        : `no response to ${healthCheck.path} within ${healthCheck.timeoutMs} ms (HEALTH_CHECK_TIMEOUT_MS)`;
    return failure(
      `${what}: ${time}`,
      step === 'connect' ? FIXES.ETIMEDOUT : 'Find out why it is slow, or raise this time',
    );
  }
  const fix = FIXES[code] ?? FIX_PATTERNS.find(([pattern]) => pattern.test(code))?.[1];
  return failure(`${what}: ${step === 'connect' ? 'no connection' : 'no response'}: ${message || code}`, fix);
}
