import { createServer } from 'node:net';
import { type Check, type Finding, failure, note, ok, type Patient } from './check.ts';
import { answersAsGateway, lookAtGateway } from './running-gateway.ts';

/** Whether the gateway could listen, or does so already. */
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
  if (code === undefined) return [note(`${where} is free: ${who} does not run, and could`)];
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

/** Gives the code of the error that kept it from listening. */
function tryToListen(host: string, port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', ({ code, message }: NodeJS.ErrnoException) => resolve(code ?? message));
    server.listen({ port, host, exclusive: true }, () => server.close(() => resolve(undefined)));
  });
}
