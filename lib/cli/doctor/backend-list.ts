import { type BackendConfig, readBackends } from '../../backends/backend-url.ts';
import type { DiscoveryName } from '../../backends/discovery/discovery-name.ts';
import { dnsChecks, dnsDefaults } from '../../backends/discovery/discovery-options.ts';
import { Lookup, NO_ANSWER } from '../../backends/discovery/lookup.ts';
import { resolveOptions } from '../../core/options.ts';
import { type Finding, failure, type Patient } from './check.ts';

/** The backends that the gateway would have now: those that are named, and those that DNS names. */
export async function backendList({ config }: Patient): Promise<{ backends: BackendConfig[]; problems: Finding[] }> {
  const dns = resolveOptions('doctor', config.dns, dnsDefaults, dnsChecks);
  const backends: BackendConfig[] = [];
  const problems: Finding[] = [];
  for (const source of readBackends(config.backends)) {
    if (!isName(source)) {
      backends.push(source);
      continue;
    }
    const { backends: found, error } = await new Lookup(source, dns).run(NO_ANSWER);
    backends.push(...found);
    if (error !== undefined) {
      const whom = config.dns.servers?.join(', ') ?? "the system's name servers";
      problems.push(
        failure(
          `${source.url}: ${error.message}`,
          `Ask ${whom} for it; DNS_SERVERS names others. Names must be complete`,
        ),
      );
    }
  }
  return { backends, problems };
}

const isName = (source: BackendConfig | DiscoveryName): source is DiscoveryName => typeof source.url === 'string';
