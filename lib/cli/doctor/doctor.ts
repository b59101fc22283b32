import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { parseEnv } from 'node:util';
import type { Config } from '../../gateway/config/config.ts';
import { readArguments, readEnvFile } from '../arguments.ts';
import { type Command, type Streams, UsageError } from '../command.ts';
import { GATEWAY_PACKAGES, gatewayPackages, requirePackages } from '../packages.ts';
import { applications } from './applications.ts';
import { backends } from './backends.ts';
import { clientIdentity } from './client-identity.ts';
import { linesWithoutEffect } from './env-file-lines.ts';
import {
  type Check,
  type Finding,
  failure,
  hasFailed,
  jsonReport,
  ok,
  type Sample,
  type Section,
  textReport,
  warning,
} from './finding.ts';
import { listenerCertificate, nodeVersion, openFiles, ports } from './machine.ts';
import { redis } from './redis.ts';

const CHECKS: readonly Check[] = [
  nodeVersion,
  openFiles,
  ports,
  listenerCertificate,
  clientIdentity,
  applications,
  backends,
  redis,
];

const HELP = `Usage: expressway doctor [options]

Checks a gateway, running or not, and says what to fix: its variables, the version of Node, open files, ports, its
certificate, how it identifies clients, settings that some applications need, each backend and Redis. It connects to
backends and to Redis as the gateway does. It writes two keys to Redis, which expire after a second, and requests only
HEALTH_CHECK_PATH from backends.

Needs the packages that the gateway needs with these variables: ${GATEWAY_PACKAGES.join(', ')}; redis with REDIS_URL,
yaml with GATEWAY_CONFIG, acme-client with ACME_DOMAINS, @opentelemetry/api with TRACING.

  --env-file <file>               reads variables from a file; the environment wins over it
  --peer <address>                the address that a sample request comes from: that of the proxy in front
  --sample-forwarded-for <field>  the X-Forwarded-For of that request: shows the address of the client
  --json                          prints one JSON object in place of the text

Each finding is ok, a note (for you to judge), warn or fail.

Exit codes: 0, 1 if anything is fail, 2 for invalid arguments.

Examples:
  expressway doctor --env-file .env
  expressway doctor --env-file .env --peer 10.0.0.1 --sample-forwarded-for "203.0.113.7, 10.0.0.2"
  BACKENDS=http://localhost:3000 expressway doctor --json
`;

export const doctor: Command = {
  name: 'doctor',
  summary: 'checks settings, machine, backends and Redis, and says what to fix',
  help: HELP,

  async run(args, streams) {
    const { envFile, sample, json } = readDoctorOptions(args);
    if (envFile !== undefined) readEnvFile(envFile);
    requirePackages(gatewayPackages(process.env), 'doctor');
    const sections: Section[] = [];
    const { config, findings } = await readConfiguration();
    const mistakes = envFile === undefined ? [] : await mistakesIn(envFile);
    sections.push({ check: 'configuration', findings: [...findings, ...mistakes] });
    if (config !== undefined) {
      for (const check of CHECKS) {
        sections.push({
          check: check.name,
          findings: await shown(check, streams, () => check.run({ config, sample })),
        });
      }
    }
    streams.stdout.write(json ? jsonReport(sections) : textReport(sections, streams.stdout));
    return hasFailed(sections) ? 1 : 0;
  },
};

async function readConfiguration(): Promise<{ config?: Config; findings: readonly Finding[] }> {
  const { readConfig } = await import('../../gateway/config/config.ts');
  const { BackendsFile } = await import('../../gateway/config/backends-file.ts');
  const { GatewayFile } = await import('../../gateway/config/declaration/gateway-file.ts');
  const { StartError } = await import('../../gateway/start-error.ts');
  try {
    const config = readConfig(process.env);
    const { backendsFile, gatewayFile } = config;
    const listed = backendsFile === undefined ? config.backends : await new BackendsFile(backendsFile).read();
    if (gatewayFile !== undefined) {
      const declaration = await new GatewayFile(gatewayFile, () => process.env).read();
      const backends = Object.values(declaration.services).flatMap((service) => service.backends);
      return {
        config: { ...config, backends, declaration },
        findings: [ok('all variables and GATEWAY_CONFIG are valid')],
      };
    }
    const findings = [ok('all variables are valid'), ...undecided(config)];
    return { config: { ...config, backends: listed }, findings };
  } catch (error) {
    if (!(error instanceof StartError)) throw error;
    return { findings: error.problems.map((problem) => failure(problem)) };
  }
}

/** The default of BACKENDS is for the demo only. */
function undecided({ backends, backendsFile }: Config): readonly Finding[] {
  if (process.env.BACKENDS || backendsFile !== undefined) return [];
  const which = backends.map((backend) => (typeof backend === 'string' ? backend : backend.url)).join(' and ');
  return [
    warning(`BACKENDS is not set: requests would go to ${which}`, 'Name your backends in BACKENDS or BACKENDS_FILE'),
  ];
}

/** Shows the running check on a terminal, because some take seconds. */
async function shown<T>({ name }: Check, { stderr }: Streams, work: () => Promise<T>): Promise<T> {
  if (stderr.isTTY !== true) return work();
  const place = CHECKS.findIndex((check) => check.name === name) + 1;
  stderr.write(`\r[${place}/${CHECKS.length}] ${name} … \x1b[K`);
  try {
    return await work();
  } finally {
    stderr.write('\r\x1b[K');
  }
}

interface DoctorOptions {
  readonly envFile: string | undefined;
  readonly sample: Sample | undefined;
  readonly json: boolean;
}

export const DOCTOR_OPTIONS = {
  'env-file': { type: 'string' },
  'sample-forwarded-for': { type: 'string' },
  peer: { type: 'string' },
  json: { type: 'boolean', default: false },
} as const;

/** @throws {UsageError} that names the first bad argument */
function readDoctorOptions(args: readonly string[]): DoctorOptions {
  const { values } = readArguments(args, DOCTOR_OPTIONS);
  return {
    envFile: values['env-file'],
    sample: readSample(values['sample-forwarded-for'], values.peer),
    json: values.json,
  };
}

function readSample(forwardedFor: string | undefined, peer: string | undefined): Sample | undefined {
  if (peer === undefined) {
    if (forwardedFor === undefined) return undefined;
    throw new UsageError(
      '--sample-forwarded-for needs --peer, the address that the request comes from, like --peer 10.0.0.1',
    );
  }
  if (isIP(peer) === 0) throw new UsageError(`--peer must be an IP address, got ${JSON.stringify(peer)}`);
  return { forwardedFor: forwardedFor ?? '', peer };
}

/** Lines of an `--env-file` without effect, and names in it that are probably misspelt variables. */
async function mistakesIn(path: string): Promise<readonly Finding[]> {
  const { misspeltVariables } = await import('../../gateway/config/misspelt-variables.ts');
  const text = readFileSync(path, 'utf8');
  const misspelt = misspeltVariables(parseEnv(text)).map(({ name, meant }) =>
    warning(`${name} is not a variable of the gateway`, `If ${meant} is meant, write that`),
  );
  return [...linesWithoutEffect(text), ...misspelt];
}
