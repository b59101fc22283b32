import { readFileSync } from 'node:fs';
import { findPackageJSON } from 'node:module';
import { cpus } from 'node:os';
import { binaryVersions } from './binary-version.ts';

const PACKAGES = [
  'express',
  'undici',
  'http-proxy-middleware',
  'express-rate-limit',
  'rate-limit-redis',
  'rate-limiter-flexible',
  'redis',
  'cockatiel',
  'fastify',
  '@fastify/http-proxy',
  '@fastify/rate-limit',
  '@fastify/circuit-breaker',
  'fastify-metrics',
  '@platformatic/prom-client',
  'opossum',
  'autocannon',
  'fast-gateway',
  'fast-proxy-lite',
  'express-http-proxy',
  'pino',
  'pino-http',
  'prom-client',
] as const;

/** What a number depends on; no host names and no paths. */
export interface Machine {
  readonly node: string;
  readonly v8: string;
  readonly packages: Readonly<Record<string, string>>;
  /** Programs of the system that are measured, or measure. */
  readonly binaries: Readonly<Record<string, string>>;
  readonly platform: string;
  readonly cpu: string;
  readonly cores: number;
}

export function describeMachine(): Machine {
  return {
    node: process.versions.node,
    v8: process.versions.v8,
    packages: Object.fromEntries(PACKAGES.map((name) => [name, versionOf(name)])),
    binaries: binaryVersions(),
    platform: `${process.platform} ${process.arch}`,
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
  };
}

function versionOf(name: string): string {
  try {
    const file = findPackageJSON(name, import.meta.url);
    return (JSON.parse(readFileSync(file as string, 'utf8')) as { version: string }).version;
  } catch {
    return 'not installed';
  }
}
