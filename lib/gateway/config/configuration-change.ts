import { type Config, changedVariables, readConfig, VARIABLES } from './config.ts';
import type { Environment } from './env-file.ts';

/** Whether a reload puts a changed variable to use. */
const isReloaded = (name: string): boolean => VARIABLES[name]?.takesEffect === 'reload';

/** Whether only a restart does, even where SIGUSR2 replaces the workers. */
export const needsRestart = (name: string): boolean => VARIABLES[name]?.takesEffect === 'restart';

/** The configuration as its source has it now. */
export interface ConfigurationChange {
  readonly variables: NodeJS.ProcessEnv;
  readonly config: Config;
  /** Variables that the file says and the environment proper says otherwise. */
  readonly overridden: readonly string[];
  /** Variables that have changed and that only a restart puts to use. */
  readonly restart: readonly string[];
}

/**
 * @param first The configuration of the start.
 * @throws {ConfigError}
 */
export function readAgain(environment: Environment, first: Config): ConfigurationChange {
  const now = environment.read();
  const config = readConfig(now.variables);
  // The files may be others, but a listener cannot begin to speak TLS, or cease to.
  const isSwitched = isTlsSwitched(first, config);
  // The same goes for asking clients for certificates.
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

/** Variables of before, with the values of now for all that `isTaken` says. */
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

/** What a gateway runs with after a reload without a restart. */
export const reloadedVariables = (before: NodeJS.ProcessEnv, { variables, restart }: ConfigurationChange) =>
  mixedVariables(before, variables, (name) => isReloaded(name) && !restart.includes(name));
