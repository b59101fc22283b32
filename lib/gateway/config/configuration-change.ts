import { type Config, changedVariables, readConfig, VARIABLES } from './config.ts';
import type { Environment } from './env-file.ts';

/** Whether a reload applies a changed variable. */
const isReloaded = (name: string): boolean => VARIABLES[name]?.takesEffect === 'reload';

/** Whether only a restart applies it, and not even SIGUSR2, which replaces the workers. */
export const needsRestart = (name: string): boolean => VARIABLES[name]?.takesEffect === 'restart';

/** The present configuration of the source. */
export interface ConfigurationChange {
  readonly variables: NodeJS.ProcessEnv;
  readonly config: Config;
  /** Variables of the file that have another value in the environment of the process, which wins. */
  readonly overridden: readonly string[];
  /** Changed variables that only a restart applies. */
  readonly restart: readonly string[];
}

/**
 * @param first The configuration of the start.
 * @throws {ConfigError}
 */
export function readAgain(environment: Environment, first: Config): ConfigurationChange {
  const now = environment.read();
  const config = readConfig(now.variables);
  // Other files are possible, but turning TLS of a listener on or off needs a restart.
  const isSwitched = isTlsSwitched(first, config);
  // The same applies to requesting client certificates.
  const isAskingSwitched = (first.clientCa === undefined) !== (config.clientCa === undefined);
  const restart = changedVariables(environment.first, now.variables).filter(
    (name) =>
      !isReloaded(name) ||
      (isSwitched && (name.startsWith('TLS_') || name === 'ACME_DOMAINS')) ||
      (isAskingSwitched && name === 'TLS_CLIENT_CA'),
  );
  return { variables: now.variables, config, overridden: now.overridden, restart };
}

export const isTlsSwitched = (before: Config, after: Config): boolean =>
  (before.tls === undefined) !== (after.tls === undefined);

/** The old variables, with the new values of those for which `isTaken` returns true. */
export function mixedVariables(
  before: NodeJS.ProcessEnv,
  now: NodeJS.ProcessEnv,
  isTaken: (name: string) => boolean,
): NodeJS.ProcessEnv {
  const mixed = { ...before };
  for (const name of Object.keys(VARIABLES)) if (isTaken(name)) mixed[name] = now[name];
  return mixed;
}

/** The texts of variables after a reload of everything that can be reloaded. */
export function reloadedTexts(before: Config['texts'], now: Config['texts']): Config['texts'] {
  const kept = Object.entries(before).filter(([name]) => !isReloaded(name));
  return Object.fromEntries([...kept, ...Object.entries(now).filter(([name]) => isReloaded(name))]);
}

/** The variables in force after a reload. */
export const reloadedVariables = (before: NodeJS.ProcessEnv, { variables, restart }: ConfigurationChange) =>
  mixedVariables(before, variables, (name) => isReloaded(name) && !restart.includes(name));
