import { setImmediate } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import {
  assertBackends,
  assertBackendTls,
  type BackendTlsOptions,
  type CounterLink,
  type Declaration,
  type IpRateLimiter,
  type RoundRobinProxy,
  type ServiceRouter,
} from '../../index.ts';
import type { BackendsFile } from '../config/backends-file.ts';
import { dayOf, readCertificates } from '../config/certificates.ts';
import type { Config } from '../config/config.ts';
import { reloadedTexts } from '../config/configuration-change.ts';
import type { GatewayFile } from '../config/declaration/gateway-file.ts';
import { readBackendTls } from '../config/tls-files.ts';
import type { WatchedFiles } from '../config/watched-files.ts';
import { limitsOf, withServiceDefaults } from '../hosted-app.ts';
import type { Logger } from '../logging/logger.ts';
import type { GatewayState } from '../observing/gateway-state.ts';
import type { TlsListener } from '../tls-listener.ts';
import type { ReloadPart } from './prepared-reload.ts';

/** @param file If given, it takes precedence over the configuration. */
export const backendsPart = (proxy: RoundRobinProxy, file: BackendsFile | undefined): ReloadPart => ({
  async prepare(next) {
    const backends = (await file?.read()) ?? next.backends;
    assertBackends(backends);
    const source = file === undefined ? {} : { file: file.name };
    return { facts: { backends, ...source }, config: { backends }, apply: () => proxy.setBackends(backends) };
  },
});

/**
 * @param file `undefined` in a worker, because the primary reads it.
 * @param config That of the start, for the defaults of services.
 */
export function routerPart(router: ServiceRouter, file: GatewayFile | undefined, config: Config): ReloadPart {
  let current = config.declaration;
  return {
    async prepare(next) {
      const declaration = (await file?.read()) ?? next.declaration;
      if (declaration === undefined) return undefined;
      const facts = { ...declaredNames(declaration), ...(file && { file: file.name }) };
      // The pages of `errors` are files, which may have changed.
      const isSame = declaration.errors === undefined && isDeepStrictEqual(declaration, current);
      if (isSame) return { facts, config: { declaration }, apply() {} };
      // Requests that came while a long file was read do not wait for the rest, too.
      await setImmediate();
      // Without `errors` in the file, they must be turned off.
      const prepared = router.prepareDeclaration({ errors: undefined, ...withServiceDefaults(declaration, config) });
      return {
        facts,
        config: { declaration },
        apply() {
          prepared.apply();
          current = declaration;
        },
        discard: () => prepared.discard(),
      };
    },
  };
}

/** Facts for the log, without the secrets of a declaration. */
export const declaredNames = ({ services, routes }: Declaration) => ({
  services: Object.keys(services),
  routes: routes.length,
});

/** @param files The watched files. Their present state is recorded before they are read. */
export const certificatePart = (
  listener: TlsListener,
  state: GatewayState,
  files: WatchedFiles | undefined,
): ReloadPart => ({
  async prepare(next) {
    if (next.tls === undefined) return undefined;
    await files?.mark();
    // Only a restart makes a listener request client certificates, or stop doing so. Until then it stays as it is.
    const { clientAuthorities: inForce } = listener.certificates;
    const clientCa = inForce && (next.clientCa ?? inForce.file);
    const certificates = readCertificates(next.tls, clientCa);
    return {
      facts: {
        certificates: certificates.facts.map(({ names, subject, expiresAt }) => ({
          names,
          subject,
          validTo: dayOf(expiresAt),
        })),
      },
      config: { tls: next.tls, acme: next.acme, clientCa },
      apply() {
        listener.use(certificates);
        state.certificates = certificates.facts;
      },
    };
  },
});

export function backendTlsPart(proxy: RoundRobinProxy, config: Config): ReloadPart {
  let current = fingerprint(readBackendTls(config.backendTls));
  return {
    async prepare(next) {
      const tls = readBackendTls(next.backendTls);
      const wanted = fingerprint(tls);
      // A change closes all connections to backends over https.
      if (wanted === current) return undefined;
      assertBackendTls(tls);
      return {
        facts: { backendTls: Object.keys(tls) },
        config: { backendTls: next.backendTls },
        apply() {
          proxy.setTls(tls);
          current = wanted;
        },
      };
    },
  };
}

const fingerprint = ({ ca, cert, key }: BackendTlsOptions): string => [ca, cert, key].map(String).join('\n');

/** Counts in Redis continue if algorithm and window stay the same. Counts in this process start from zero. */
export function limitsPart(limiter: IpRateLimiter, config: Config, counter: CounterLink | undefined): ReloadPart {
  let current = JSON.stringify(config.rateLimit);
  return {
    async prepare({ rateLimit }) {
      const wanted = JSON.stringify(rateLimit);
      if (wanted === current) return undefined;
      const prepared = await limiter.prepareLimits(limitsOf({ ...config, rateLimit }, counter));
      return {
        facts: { limits: rateLimit },
        config: { rateLimit },
        apply() {
          prepared.apply();
          current = wanted;
        },
        discard: () => prepared.discard(),
      };
    },
  };
}

/** Texts of the variables for the status page, as a full reload changes them. */
export const textsPart = (current: () => Config['texts']): ReloadPart => ({
  async prepare({ texts }) {
    return { facts: {}, config: { texts: reloadedTexts(current(), texts) }, apply() {} };
  },
});

export const logLevelPart = (log: Logger): ReloadPart => ({
  async prepare({ logLevel }) {
    if (logLevel === log.level) return undefined;
    return {
      facts: { logLevel },
      config: { logLevel },
      apply() {
        log.level = logLevel;
      },
    };
  },
});
