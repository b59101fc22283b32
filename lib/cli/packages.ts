import { InputError } from './command.ts';
import { manifest } from './manifest.ts';

/** What the gateway uses and this package, as a library, does not install. */
export const GATEWAY_PACKAGES: readonly string[] = ['express', 'pino', 'prom-client'];

/**
 * Makes sure that packages can be loaded before anything is done.
 *
 * @throws {InputError} that names those that are missing, with what installs them
 */
export function requirePackages(names: readonly string[], command: string): void {
  const missing = names.filter((name) => !isInstalled(name));
  if (missing.length === 0) return;
  throw new InputError(
    `${missing.length === 1 ? 'a package is' : 'packages are'} missing: ${missing.join(', ')}\n\n` +
      'They are no dependencies of the library; the gateway needs them. Either\n' +
      `  npm install ${missing.map(versioned).join(' ')}\n` +
      'beside expressway, or without installing anything:\n' +
      `  npx -p expressway ${names.map((name) => `-p ${versioned(name)}`).join(' ')} expressway ${command} …`,
  );
}

/** In the version that it is tested with: the newest may be another one by now. */
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
