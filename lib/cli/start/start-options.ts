import { quotasOfWindows, windowsCheck } from '../../rate-limit/quotas.ts';
import { readArguments } from '../arguments.ts';
import { UsageError } from '../command.ts';

export interface StartOptions {
  readonly envFile: string | undefined;
  /** Variables of the example gateway; they win over the environment and the file. */
  readonly variables: Readonly<Record<string, string>>;
}

export const START_OPTIONS = {
  backend: { type: 'string', multiple: true },
  port: { type: 'string' },
  host: { type: 'string' },
  limit: { type: 'string' },
  redis: { type: 'string' },
  'trust-proxy': { type: 'string' },
  'health-path': { type: 'string' },
  'admin-port': { type: 'string' },
  'access-log': { type: 'string' },
  'env-file': { type: 'string' },
} as const;

/** Flags whose value is that of one variable. What it may be is for the example gateway to say. */
const VARIABLES = {
  port: 'PORT',
  host: 'HOST',
  redis: 'REDIS_URL',
  'trust-proxy': 'TRUST_PROXY',
  'health-path': 'HEALTH_CHECK_PATH',
  'admin-port': 'ADMIN_PORT',
  'access-log': 'ACCESS_LOG',
} as const;

/** @throws {UsageError} that names the first argument that cannot be meant */
export function readStartOptions(args: readonly string[]): StartOptions {
  const { values } = readArguments(args, START_OPTIONS);
  const variables: Record<string, string> = {};
  for (const [flag, variable] of Object.entries(VARIABLES)) {
    const value = values[flag as keyof typeof VARIABLES];
    if (value !== undefined) variables[variable] = value;
  }
  const backends = values.backend ?? [];
  if (backends.length > 0) {
    variables.BACKENDS = backends.join(',');
    // It would take the place of what was asked for.
    variables.BACKENDS_FILE = '';
  }
  if (values.limit !== undefined) Object.assign(variables, limitVariables(values.limit));
  return { envFile: values['env-file'], variables };
}

function limitVariables(limit: string): Record<string, string> {
  const problem = windowsCheck(limit);
  if (problem !== undefined) throw new UsageError(`--limit ${problem}`);
  const [quota, ...more] = quotasOfWindows(limit);
  if (quota === undefined || more.length > 0) {
    throw new UsageError(
      '--limit takes one window, like 100/1m; for several, mount ipRateLimit() in an app of your own',
    );
  }
  return { RATE_LIMIT_MAX: String(quota.limit), RATE_LIMIT_WINDOW_MS: String(quota.windowMs) };
}
