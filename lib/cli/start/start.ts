import { type Command, UsageError } from '../command.ts';
import { readEnvFile } from '../env-file.ts';
import { GATEWAY_PACKAGES, requirePackages } from '../packages.ts';
import { readStartOptions } from './start-options.ts';

const HELP = `Usage: expressway start --backend <url> [options]

Runs the example gateway: rate limiting by client address, a circuit breaker, and round-robin forwarding with failover,
until Ctrl-C or SIGTERM. Needs the packages ${GATEWAY_PACKAGES.join(', ')}, and redis with --redis.

  --backend <url>        where requests go; again for each further backend. http://host:port, https://host:port, or a
                         name to look up: dns://name:port, srv://name. A weight may follow: 'http://host:port;weight=3'.
                         There is no default: without one, BACKENDS or BACKENDS_FILE must be set
  --port <n>             default 8080; 0 takes any free one
  --host <address>       where to listen, default 0.0.0.0: every IPv4 address of this machine
  --limit <limit>        requests per window and client, default 100/1m (units: ms, s, m, h, d)
  --redis <url>          shares the limits between gateways, like redis://localhost:6379
  --trust-proxy <list>   proxies in front that may name the client: how many, or their addresses; default nobody
  --health-path <path>   asks each backend for it, like /healthz; default no checks
  --admin-port <n>       of the admin listener on 127.0.0.1, default 9090; '' for none
  --access-log <format>  a line per request: json, common or combined; default off
  --env-file <file>      reads variables of the example gateway from a file; SIGHUP reads them again

A flag wins over a variable of the environment, and that over the file. Every variable of the example gateway may be set
in either.

Exit codes: 0 when it was stopped, 1 if it cannot start, 2 for a wrong call.

Examples:
  expressway start --backend http://localhost:3000
  expressway start --backend http://localhost:3000 --backend http://localhost:3001 --port 80 --limit 600/1m
  expressway start --backend http://localhost:3000 --redis redis://localhost:6379 --trust-proxy 1
  LOG_LEVEL=debug expressway start --env-file gateway.env
`;

const BACKEND_VARIABLES = ['BACKENDS', 'BACKENDS_FILE'];

const NO_BACKEND =
  'there is no backend: say where requests go with --backend http://localhost:3000, or with the variable BACKENDS or ' +
  'BACKENDS_FILE in the environment or in --env-file';

export const start: Command = {
  name: 'start',
  summary: 'runs the example gateway in front of your backends',
  help: HELP,

  async run(args) {
    const { envFile, variables } = readStartOptions(args);
    const { env } = process;
    const proper = [...Object.keys(env), ...Object.keys(variables)];
    if (envFile !== undefined) readEnvFile(envFile);
    Object.assign(env, variables);
    if (!BACKEND_VARIABLES.some((name) => env[name]?.trim())) throw new UsageError(NO_BACKEND);
    // What SIGHUP reads again: this file, and no .env that happens to be there.
    env.EXPRESSWAY_ENV_FILE = envFile ?? '';
    // What wins over it, whatever it says then.
    env.EXPRESSWAY_ENV_PROPER = proper.join(',');
    env.EXPRESSWAY_NEEDS_BACKENDS = '1';
    requirePackages(process.env.REDIS_URL ? [...GATEWAY_PACKAGES, 'redis'] : GATEWAY_PACKAGES, 'start');
    // From here on it is the process of the gateway, which reads the environment and ends with the signals.
    const { runGateway } = await import('../../gateway/run-gateway.ts');
    await runGateway();
    return 0;
  },
};
