import { X509Certificate } from 'node:crypto';
import { createServer } from 'node:net';
import { isSupportedNode, leastNode } from '../manifest.ts';
import { type Check, type Finding, failure, note, ok, type Patient, warning } from './finding.ts';
import { answersAsGateway, lookAtGateway } from './running-gateway.ts';

/** Whether the package supports this version of Node. */
export const nodeVersion: Check = {
  name: 'node',
  async run() {
    const { node } = process.versions;
    if (isSupportedNode(node)) return [ok(`Node ${node}`)];
    return [failure(`Node ${node} is older than ${leastNode()}`, `Install Node ${leastNode()} or newer`)];
  },
};

/** Whether the limit of open files fits MAX_CONNECTIONS. */
export const openFiles: Check = {
  name: 'open files',
  async run({ config }) {
    const { openFileLimit, otherConnections } = await import('../../gateway/open-files.ts');
    const { bounds, workers } = config;
    return [await judgeOpenFiles(openFileLimit(), bounds.maxConnections, otherConnections(config), workers)];
  },
};

/** @param others Connections of each process that MAX_CONNECTIONS does not count. */
export async function judgeOpenFiles(
  files: number,
  maxConnections: number,
  others: number,
  workers = 1,
): Promise<Finding> {
  const { filesFor, shareOut } = await import('../../gateway/open-files.ts');
  const share = Math.ceil(maxConnections / workers);
  const needed = filesFor(share, others);
  const has = `${Number.isFinite(files) ? files : 'any number of'} open files`;
  const { connections } = shareOut(files, others);
  const all = connections * workers;
  const [together, each] = workers > 1 ? [` in ${workers} workers`, ` in each of ${workers} workers`] : ['', ''];
  if (maxConnections === 0) return note(`${has}: MAX_CONNECTIONS=0 sets no bound, the gateway takes ${all}`);
  if (share <= connections)
    return ok(`${has} are enough for ${maxConnections} connections (MAX_CONNECTIONS)${together}`);
  return warning(
    `only ${has}, and ${maxConnections} connections (MAX_CONNECTIONS) need up to ${needed}${each}: the gateway takes ${all}`,
    `Raise the limit (ulimit -n ${needed}, LimitNOFILE=${needed} in a systemd unit, --ulimit nofile=${needed} for a container) ` +
      `or set MAX_CONNECTIONS=${all}`,
  );
}

/** Whether the gateway could listen, or already listens. */
export const ports: Check = {
  name: 'ports',
  async run(patient) {
    const { host, port, admin } = patient.config;
    const own = await look('the gateway', 'PORT', { host, port }, () => answersAsGateway(patient.config));
    if (admin === undefined) return own;
    const running = await lookAtGateway(admin);
    return [
      ...own,
      ...(await look('the admin listener', 'ADMIN_PORT', admin, async () => running.length > 0)),
      ...running,
    ];
  },
};

type Address = NonNullable<Patient['config']['admin']>;

async function look(
  who: string,
  variable: string,
  { host, port }: Pick<Address, 'host' | 'port'>,
  isOurs: () => Promise<boolean>,
): Promise<Finding[]> {
  if (port === 0) return [ok(`${who} takes any free port (${variable}=0)`)];
  const code = await tryToListen(host, port);
  const where = `${host.includes(':') ? `[${host}]` : host}:${port}`;
  if (code === undefined) return [note(`${where} is free: ${who} does not run, and could listen there`)];
  if (code === 'EADDRINUSE') {
    if (await isOurs()) return [ok(`${who} listens on ${where}`)];
    return [failure(`${where} is taken by another program`, `End that program, or set ${variable} to another port`)];
  }
  if (code === 'EACCES') {
    return [
      failure(
        `this user may not listen on ${where}`,
        `Set ${variable} to a port over 1023, or give node the right (setcap cap_net_bind_service)`,
      ),
    ];
  }
  return [failure(`${who} cannot listen on ${where}: ${code}`, 'Set HOST and ADMIN_HOST to addresses of this machine')];
}

/** @returns the code of the error, if it cannot listen. */
function tryToListen(host: string, port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', ({ code, message }: NodeJS.ErrnoException) => resolve(code ?? message));
    server.listen({ port, host, exclusive: true }, () => server.close(() => resolve(undefined)));
  });
}

const SOON_DAYS = 14;
const DAY_MS = 86_400_000;

/** Whether the gateway's certificates and keys are usable, and until when. */
export const listenerCertificate: Check = {
  name: 'certificate',
  async run({ config }) {
    if (config.tls === undefined) return [];
    const { readCertificates } = await import('../../gateway/config/certificates.ts');
    try {
      return readCertificates(config.tls, config.clientCa).all.map(({ cert }) =>
        judgeCertificate(new X509Certificate(cert)),
      );
    } catch (error) {
      return [failure((error as Error).message, 'Set TLS_CERT, TLS_KEY and TLS_CLIENT_CA to files that can be used')];
    }
  },
};

function judgeCertificate({ subject, subjectAltName, validFrom, validTo }: X509Certificate): Finding {
  const whose = `certificate for ${subjectAltName ?? subject.replaceAll('\n', ', ')}`;
  if (Date.parse(validFrom) > Date.now()) {
    return failure(
      `${whose}, valid only from ${validFrom} on: clients do not accept it yet`,
      'Correct the clock of this machine if it is wrong. Otherwise use a certificate that is valid now',
    );
  }
  const days = Math.floor((Date.parse(validTo) - Date.now()) / DAY_MS);
  const what = days < 0 ? `${whose} has expired, ${validTo}` : `${whose}, ${days} days left`;
  return days < SOON_DAYS ? warning(what, 'Renew it, and put the new one in its file: the gateway notices') : ok(what);
}
