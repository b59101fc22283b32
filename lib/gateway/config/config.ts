import { StartError } from '../start-error.ts';
import { type BackendsConfig, backends } from './sections/backend-variables.ts';
import { type ClientsConfig, clients } from './sections/client-variables.ts';
import { type ForwardingConfig, forwarding } from './sections/forwarding-variables.ts';
import { type HealthConfig, health } from './sections/health-variables.ts';
import { type ListenerConfig, listener } from './sections/listener-variables.ts';
import { type LoadBalancingConfig, loadBalancing } from './sections/load-balancing-variables.ts';
import { type OperationConfig, operation } from './sections/operation-variables.ts';
import { type RateLimitConfig, rateLimit } from './sections/rate-limit-variables.ts';
import { type RequestsConfig, requests } from './sections/request-variables.ts';
import { type ServicesConfig, services } from './sections/service-variables.ts';
import { sharedPorts } from './shared-ports.ts';
import type { Section, Variables } from './variable.ts';

/** The configuration from the variables of the environment. */
export interface Config
  extends ListenerConfig,
    BackendsConfig,
    ServicesConfig,
    LoadBalancingConfig,
    ClientsConfig,
    RateLimitConfig,
    HealthConfig,
    RequestsConfig,
    ForwardingConfig,
    OperationConfig {
  /** The text of each variable, or its default. Variables without either are left out. */
  readonly texts: Readonly<Record<string, string>>;
}

/** An invalid environment. `problems` has a line for each invalid variable. */
export class ConfigError extends StartError {}

/** All variables, in the order of `.env.example`. Each entry has everything about a variable. */
export const SECTIONS = [
  listener,
  backends,
  services,
  loadBalancing,
  clients,
  rateLimit,
  health,
  requests,
  forwarding,
  operation,
] as const;

/** The entries of all sections, by name. */
export const VARIABLES: Variables = Object.freeze(
  Object.assign({}, ...SECTIONS.map((section) => section.variables)) as Variables,
);

/**
 * @throws {ConfigError} that names every bad variable.
 */
export function readConfig(env: NodeJS.ProcessEnv): Config {
  const given = givenIn(env);
  const problems: string[] = [];
  const parts = SECTIONS.map((section) => readSection<Variables, object>(section, given, problems));
  if (given.GATEWAY_CONFIG !== undefined) problems.push(...ofOneServiceIn(given));
  // `npx expressway start` needs backends of its user. The default, the demo's backends, would be wrong.
  const { BACKENDS, BACKENDS_FILE, GATEWAY_CONFIG } = given;
  if (env.EXPRESSWAY_NEEDS_BACKENDS && (BACKENDS ?? BACKENDS_FILE ?? GATEWAY_CONFIG) === undefined) {
    problems.push(
      'BACKENDS: there is no backend: say where requests go with --backend, BACKENDS, BACKENDS_FILE or GATEWAY_CONFIG',
    );
  }
  problems.push(...sharedPorts((name) => given[name] ?? VARIABLES[name]?.default ?? ''), ...behindByteOrderMark(env));
  if (problems.length > 0) throw new ConfigError(problems);
  return Object.assign({}, ...parts, { texts: textsOf(given) }) as Config;
}

function textsOf(given: Readonly<Record<string, string>>): Record<string, string> {
  const all = Object.entries(VARIABLES).map(([name, { default: fallback = '' }]) => [name, given[name] ?? fallback]);
  return Object.fromEntries(all.filter(([, text]) => text !== ''));
}

/** @param problems Gets one text for each invalid variable. @returns `undefined` if there is any. */
function readSection<V extends Variables, C>(
  { variables, problems: problemsOf, config }: Section<V, C>,
  given: Readonly<Record<string, string>>,
  problems: string[],
): C | undefined {
  const found: string[] = [];
  const values: Record<string, unknown> = {};
  for (const [name, variable] of Object.entries(variables)) {
    try {
      values[name] = variable.read(given[name] ?? variable.default ?? '');
    } catch (error) {
      found.push(`${name}: ${(error as Error).message}`);
    }
  }
  found.push(...(problemsOf?.(given) ?? []));
  problems.push(...found);
  return found.length > 0 ? undefined : config(values as Parameters<typeof config>[0]);
}

/** Node reads the byte order mark at the start of a file as a part of the first name: that variable would have no effect. */
function behindByteOrderMark(env: NodeJS.ProcessEnv): string[] {
  const names = Object.keys(env).filter((name) => name.startsWith('\uFEFF'));
  return names.map(
    (name) => `${name.slice(1)}: the file begins with a byte order mark (BOM): save it as UTF-8 without one`,
  );
}

/** The texts of the variables that are set. An empty variable counts as absent, unless empty is a value of its own. */
function givenIn(env: NodeJS.ProcessEnv): Record<string, string> {
  const given: Record<string, string> = {};
  for (const [name, { isEmptyValue = false }] of Object.entries(VARIABLES)) {
    const text = env[name]?.trim();
    if (text !== undefined && (text !== '' || isEmptyValue)) given[name] = text;
  }
  return given;
}

/** Variables for a single service that are set beside GATEWAY_CONFIG. Those with their default are ignored: a copy of `.env.example` has all. */
function ofOneServiceIn(given: Readonly<Record<string, string>>): string[] {
  const names = Object.entries(VARIABLES)
    .filter(([name, { isOfOneService, default: fallback = '' }]) => {
      const text = given[name];
      return isOfOneService === true && text !== undefined && text !== fallback;
    })
    .map(([name]) => name);
  if (names.length === 0) return [];
  return [
    `GATEWAY_CONFIG: ${names.join(', ')} ${names.length === 1 ? 'says' : 'say'} how one service is run and ${names.length === 1 ? 'does' : 'do'} not apply: ` +
      'put it into that file, or leave the variable empty',
  ];
}

/** Names of the variables whose values differ between two valid environments. */
export function changedVariables(before: NodeJS.ProcessEnv, after: NodeJS.ProcessEnv): string[] {
  const [one, other] = [givenIn(before), givenIn(after)];
  return Object.entries(VARIABLES)
    .filter(([name, { default: fallback = '', read }]) => {
      const value = (given: Record<string, string>) => JSON.stringify(read(given[name] ?? fallback));
      return value(one) !== value(other);
    })
    .map(([name]) => name);
}
