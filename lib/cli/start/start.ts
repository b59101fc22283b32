import { setForStart } from '../../gateway/v8-settings.ts';
import { quotasOfWindows, windowsCheck } from '../../rate-limit/quota.ts';
import { readArguments, readEnvFile } from '../arguments.ts';
import { type Command, UsageError } from '../command.ts';
import { GATEWAY_PACKAGES, gatewayPackages, requirePackages } from '../packages.ts';

const HELP = `Usage: expressway start --backend <url> [options]

Runs the gateway: rate limiting by client address, a circuit breaker, and round-robin forwarding with failover,
until Ctrl-C or SIGTERM. Needs the packages ${GATEWAY_PACKAGES.join(', ')}; redis with --redis;
yaml with GATEWAY_CONFIG.

  --backend <url>        where requests go; again for each further backend. http://host:port, https://host:port, or a
                         name to look up: dns://name:port, srv://name. A weight may follow: 'http://host:port;weight=3'.
                         There is no default: without one, BACKENDS, BACKENDS_FILE or GATEWAY_CONFIG must be set
  --port <n>             default 8080; 0 takes any free one
  --host <address>       where to listen, default 0.0.0.0: every IPv4 address of this machine
  --limit <limit>        requests per window and client, default 100/1m (units: ms, s, m, h, d)
  --redis <url>          shares the limits between gateways, like redis://localhost:6379
  --trust-proxy <list>   proxies in front that may name the client: their number, or their addresses; default none
  --health-path <path>   path of the health checks of each backend, like /healthz; default no checks
  --admin-port <n>       of the admin listener on 127.0.0.1, default 9090; '' for none
  --access-log <format>  one line per request: json, common or combined; default off
  --env-file <file>      reads variables of the gateway from a file; SIGHUP reads them again

A flag wins over a variable of the environment, and the environment over the file. Environment and file may set every
variable of the gateway.

Exit codes: 0 when it was stopped, 1 if it cannot start, 2 for invalid arguments.

Examples:
  expressway start --backend http://localhost:3000
  expressway start --backend http://localhost:3000 --backend http://localhost:3001 --port 80 --limit 600/1m
  expressway start --backend http://localhost:3000 --redis redis://localhost:6379 --trust-proxy 1
  LOG_LEVEL=debug expressway start --env-file gateway.env
  GATEWAY_CONFIG=gateway.yaml expressway start
`;

const BACKEND_VARIABLES = ['BACKENDS', 'BACKENDS_FILE', 'GATEWAY_CONFIG'];

const NO_BACKEND =
  'there is no backend: say where requests go with --backend http://localhost:3000, or with the variable BACKENDS, ' +
  'BACKENDS_FILE or GATEWAY_CONFIG in the environment or in --env-file';

export const start: Command = {
  name: 'start',
  summary: 'runs the gateway in front of your backends',
  help: HELP,

  async run(args) {
    const { envFile, variables } = readStartOptions(args);
    const { env } = process;
    const proper = [...Object.keys(env), ...Object.keys(variables)];
    if (envFile !== undefined) readEnvFile(envFile);
    Object.assign(env, variables);
    if (!BACKEND_VARIABLES.some((name) => env[name]?.trim())) throw new UsageError(NO_BACKEND);
    // SIGHUP reads this file again, and not a `.env` that happens to be there.
    env.EXPRESSWAY_ENV_FILE = envFile ?? '';
    // These variables win over the file, even when it changes.
    env.EXPRESSWAY_ENV_PROPER = proper.join(',');
    env.EXPRESSWAY_NEEDS_BACKENDS = '1';
    requirePackages(gatewayPackages(env), 'start');
    setForStart(Boolean(env.GATEWAY_CONFIG?.trim()));
    // From here on, this process is the gateway: it reads the environment and handles signals.
    const { runGateway } = await import('../../gateway/run-gateway.ts');
    await runGateway();
    return 0;
  },
};

interface StartOptions {
  readonly envFile: string | undefined;
  /** Variables from flags. They win over the environment and the file. */
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

/** Flags whose value is that of one variable. The gateway checks it. */
const VARIABLES = {
  port: 'PORT',
  host: 'HOST',
  redis: 'REDIS_URL',
  'trust-proxy': 'TRUST_PROXY',
  'health-path': 'HEALTH_CHECK_PATH',
  'admin-port': 'ADMIN_PORT',
  'access-log': 'ACCESS_LOG',
} as const;

/** @throws {UsageError} that names the first bad argument */
function readStartOptions(args: readonly string[]): StartOptions {
  const { values } = readArguments(args, START_OPTIONS);
  const variables: Record<string, string> = {};
  for (const [flag, variable] of Object.entries(VARIABLES)) {
    const value = values[flag as keyof typeof VARIABLES];
    if (value !== undefined) variables[variable] = value;
  }
  const backends = values.backend ?? [];
  if (backends.length > 0) {
    variables.BACKENDS = backends.join(',');
    // It would replace the backends of the flag.
    variables.BACKENDS_FILE = '';
  }
  if (values.limit !== undefined) Object.assign(variables, limitVariables(values.limit));
  return { envFile: values['env-file'], variables };
}

function limitVariables(limit: string): Record<string, string> {
  if (windowsCheck(limit) !== undefined) {
    throw new UsageError(
      `--limit must be a number of requests and a window, like 100/1m or 1000/1h, got ${JSON.stringify(limit)}`,
    );
  }
  const [quota, ...more] = quotasOfWindows(limit);
  if (quota === undefined || more.length > 0) {
    throw new UsageError(
      '--limit takes one window, like 100/1m; for several, mount ipRateLimit() in an app of your own',
    );
  }
  return { RATE_LIMIT_MAX: String(quota.limit), RATE_LIMIT_WINDOW_MS: String(quota.windowMs) };
}
