import { InputError } from './command.ts';
import { manifest } from './manifest.ts';

/** Packages that the gateway needs and that this package does not install, because its other users do not need them. */
export const GATEWAY_PACKAGES: readonly string[] = ['express', 'pino', 'prom-client'];

/** By the variable that asks for it. */
const PACKAGES_OF_VARIABLES = {
  REDIS_URL: 'redis',
  GATEWAY_CONFIG: 'yaml',
  ACME_DOMAINS: 'acme-client',
} as const;

/** The packages that the gateway needs with these variables. */
export const gatewayPackages = (env: NodeJS.ProcessEnv): readonly string[] => [
  ...GATEWAY_PACKAGES,
  ...Object.entries(PACKAGES_OF_VARIABLES).flatMap(([name, one]) => (env[name] ? [one] : [])),
  ...(env.TRACING === 'on' ? ['@opentelemetry/api'] : []),
];

/**
 * Makes sure that packages can be loaded.
 *
 * @throws {InputError} that names missing packages and the command that installs them
 */
export function requirePackages(names: readonly string[], command: string): void {
  const missing = names.filter((name) => !isInstalled(name));
  if (missing.length === 0) return;
  throw new InputError(
    `${missing.length === 1 ? 'a package is' : 'packages are'} missing: ${missing.join(', ')}\n\n` +
      'The gateway needs them, and the library does not install them. Either\n' +
      `  npm install ${missing.map(versioned).join(' ')}\n` +
      'beside expressway, or without installing anything:\n' +
      `  npx -p expressway ${names.map((name) => `-p ${versioned(name)}`).join(' ')} expressway ${command} …`,
  );
}

/** With the version that the tests use, because the newest one may differ. */
function versioned(name: string): string {
  const major = /\d+/.exec(manifest().devDependencies[name] ?? '')?.[0];
  return major === undefined ? name : `${name}@${major}`;
}

function isInstalled(name: string): boolean {
  try {
    import.meta.resolve(name);
    return true;
  } catch {
    return false;
  }
}
