import type { Config } from '../../gateway/config/config.ts';
import type { Command, Streams } from '../command.ts';
import { readEnvFile } from '../env-file.ts';
import { GATEWAY_PACKAGES, requirePackages } from '../packages.ts';
import { applications } from './applications.ts';
import { backends } from './backends.ts';
import { type Check, type Finding, failure, ok, warning } from './check.ts';
import { clientIdentity } from './client-identity.ts';
import { readDoctorOptions } from './doctor-options.ts';
import { hasFailed, jsonReport, type Section, textReport } from './finding-report.ts';
import { listenerCertificate } from './listener-certificate.ts';
import { misspeltVariables } from './misspelt-variables.ts';
import { nodeVersion } from './node-version.ts';
import { openFiles } from './open-files.ts';
import { ports } from './ports.ts';
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

Looks at what the example gateway would run with, or runs with, and says what to do: its variables, the version of Node,
open files, ports, its certificate, who a client is, settings that some applications need, each backend and Redis. It
connects to backends and to Redis as the gateway does; to Redis it writes two keys that are gone after a second, and
from backends it asks for HEALTH_CHECK_PATH only.

Needs the packages ${GATEWAY_PACKAGES.join(', ')}, and redis with REDIS_URL.

  --env-file <file>               reads variables from a file; those of the environment win
  --peer <address>                the address that a sample request comes from: that of the proxy in front
  --sample-forwarded-for <field>  the X-Forwarded-For of that request: says who the client would be
  --json                          prints one JSON object in place of the text

Each finding is ok, a note (for you to judge), warn or fail.

Exit codes: 0, 1 if anything is fail, 2 for a wrong call.

Examples:
  expressway doctor --env-file .env
  expressway doctor --env-file .env --peer 10.0.0.1 --sample-forwarded-for "203.0.113.7, 10.0.0.2"
  BACKENDS=http://localhost:3000 expressway doctor --json
`;

export const doctor: Command = {
  name: 'doctor',
  summary: 'checks a configuration and what it leads to, and says what to do',
  help: HELP,

  async run(args, streams) {
    const { envFile, sample, json } = readDoctorOptions(args);
    if (envFile !== undefined) readEnvFile(envFile);
    requirePackages(process.env.REDIS_URL ? [...GATEWAY_PACKAGES, 'redis'] : GATEWAY_PACKAGES, 'doctor');
    const sections: Section[] = [];
    const { config, findings } = await readConfiguration();
    const misspelt = envFile === undefined ? [] : await misspeltVariables(envFile);
    sections.push({ check: 'configuration', findings: [...findings, ...misspelt] });
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
  const { StartError } = await import('../../gateway/start-error.ts');
  try {
    const config = readConfig(process.env);
    const listed =
      config.backendsFile === undefined ? config.backends : await new BackendsFile(config.backendsFile).read();
    const findings = [ok('every variable can be used'), ...undecided(config)];
    return { config: { ...config, backends: listed }, findings };
  } catch (error) {
    if (!(error instanceof StartError)) throw error;
    return { findings: error.problems.map((problem) => failure(problem)) };
  }
}

/** The default is for the demo, and for nothing else. */
function undecided({ backends, backendsFile }: Config): readonly Finding[] {
  if (process.env.BACKENDS || backendsFile !== undefined) return [];
  const which = backends.map((backend) => (typeof backend === 'string' ? backend : backend.url)).join(' and ');
  return [
    warning(`BACKENDS is not set: requests would go to ${which}`, 'Name your backends in BACKENDS or BACKENDS_FILE'),
  ];
}

/** Says on a terminal what is under way: some checks take seconds. */
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
