import { type BackendConfig, readBackends } from '../../backends/backend-url.ts';
import type { DiscoveryName } from '../../backends/discovery/discovery-name.ts';
import { type DnsOptions, dnsChecks, dnsDefaults } from '../../backends/discovery/discovery-options.ts';
import { Lookup, NO_ANSWER } from '../../backends/discovery/lookup.ts';
import { healthCheckDefaults } from '../../backends/health/health-check-options.ts';
import { resolveOptions } from '../../core/options.ts';
import type { Config } from '../../gateway/config/config.ts';
import { type RoundRobinProxyOptions, roundRobinProxyDefaults } from '../../proxy/round-robin-proxy-options.ts';
import { connectorTls } from '../../proxy/transport/backend-tls.ts';
import { type Finding, failure } from './finding.ts';

/** Backends with the same settings: those of the variables, or of one service in the file of `GATEWAY_CONFIG`. */
export interface BackendGroup {
  /** Name of the service; `undefined` without such a file. */
  readonly service: string | undefined;
  readonly sources: RoundRobinProxyOptions['backends'];
  readonly dns: DnsOptions;
  /** Options of `tls.connect()`. */
  readonly tls: object;
  /** The name that every certificate must be for. */
  readonly serverName: string | undefined;
  readonly isHttp2: boolean;
  readonly connectTimeoutMs: number;
  readonly health: {
    readonly path: string | undefined;
    readonly timeoutMs: number;
    readonly headers: Readonly<Record<string, string>>;
  };
}

/** @throws {TlsFilesError} when a file for TLS cannot be used. */
export async function backendGroups(config: Config): Promise<readonly BackendGroup[]> {
  const { readBackendTls } = await import('../../gateway/config/tls-files.ts');
  const { declaration } = config;
  if (declaration === undefined) {
    const { backends, backendTls: files, backendProtocol: protocol, dns, connectTimeoutMs, healthCheck } = config;
    return [groupOf(undefined, { backends, tls: readBackendTls(files), protocol, dns, connectTimeoutMs, healthCheck })];
  }
  return Object.entries(declaration.services).map(([name, service]) => groupOf(name, service));
}

function groupOf(service: string | undefined, given: RoundRobinProxyOptions): BackendGroup {
  const { backends: sources, dns, protocol, connectTimeoutMs, healthCheck } = { ...roundRobinProxyDefaults, ...given };
  const health = { path: undefined, ...healthCheckDefaults, ...healthCheck };
  const tls = given.tls ?? {};
  return {
    service,
    sources,
    dns,
    tls: connectorTls(tls),
    serverName: tls.serverName,
    isHttp2: protocol === 'http2',
    connectTimeoutMs,
    health,
  };
}

/** The option of a service that is like a variable, by the name of the variable. */
const OPTIONS: Readonly<Record<string, string>> = {
  BACKENDS: 'backends',
  'BACKEND_PROTOCOL=http2': 'protocol: http2',
  BACKEND_CA: 'tls.ca',
  BACKEND_CERT: 'tls.cert',
  BACKEND_KEY: 'tls.key',
  CONNECT_TIMEOUT_MS: 'connectTimeoutMs',
  DNS_SERVERS: 'dns.servers',
  HEALTH_CHECK_PATH: 'healthCheck.path',
  HEALTH_CHECK_TIMEOUT_MS: 'healthCheck.timeoutMs',
};

/** Names the service in a finding, and its options in place of the variables. */
export function asOf({ service }: BackendGroup, finding: Finding): Finding {
  if (service === undefined) return finding;
  const inFile = (text: string): string =>
    text.replace(/[A-Z]+_[A-Z_]+(?:=http2)?|BACKENDS/g, (name) => OPTIONS[name] ?? name);
  const { what, fix } = finding;
  return {
    ...finding,
    what: `service ${service}, ${inFile(what)}`,
    ...(fix === undefined ? {} : { fix: inFile(fix) }),
  };
}

/** The backends that the gateway would have now, including those from DNS. */
export async function foundBackends(
  group: BackendGroup,
): Promise<{ backends: readonly BackendConfig[]; problems: readonly Finding[] }> {
  const dns = resolveOptions('doctor', group.dns, dnsDefaults, dnsChecks);
  const backends: BackendConfig[] = [];
  const problems: Finding[] = [];
  for (const source of readBackends(group.sources)) {
    if (!isName(source)) {
      backends.push(source);
      continue;
    }
    const { backends: found, error } = await new Lookup(source, dns).run(NO_ANSWER);
    backends.push(...found);
    if (error !== undefined) {
      const servers = dns.servers?.join(', ') ?? "the system's name servers";
      problems.push(
        failure(
          `${source.url}: ${error.message}`,
          `Ask ${servers} for it; DNS_SERVERS names others. Names must be complete`,
        ),
      );
    }
  }
  return { backends, problems };
}

const isName = (source: BackendConfig | DiscoveryName): source is DiscoveryName => typeof source.url === 'string';
