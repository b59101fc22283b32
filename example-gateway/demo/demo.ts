import { createServer } from 'node:net';
import { fileURLToPath } from 'node:url';
import { stopOnSignals } from 'expressway';
import { exitOnStartError, readConfig, startGateway } from 'expressway/gateway';
import { DemoChild } from './demo-child.ts';
import { demoGuide } from './demo-guide.ts';

const BACKENDS = [
  { name: 'users', port: 8081, variable: 'USERS_URL' },
  { name: 'shop1', port: 8082, variable: 'SHOP_URL' },
  { name: 'shop2', port: 8083, variable: 'SHOP_URL_2' },
  { name: 'events', port: 8084, variable: 'EVENTS_URL' },
];

/** Returns the port if it is free. Otherwise it notes the port in `taken` and returns 0, which stands for any free port. */
function portOrAny(host: string, port: number, taken: number[]): Promise<number> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once('error', (error: NodeJS.ErrnoException) => {
      // The server that listens later reports any other error.
      if (error.code !== 'EADDRINUSE') return resolve(port);
      taken.push(port);
      resolve(0);
    });
    probe.listen(port, host, () => probe.close(() => resolve(port)));
  });
}

async function sayWhenGone(child: DemoChild): Promise<void> {
  if (!(await child.gone())) return;
  const again = `npx node example-gateway/demo/demo-backend.ts --name ${child.name} --port ${new URL(child.url).port}`;
  process.stdout.write(`Backend ${child.name} (pid ${child.pid}) is gone. To bring it back:\n  ${again}\n`);
}

try {
  // The demo brings its own backends and needs no Redis.
  const GATEWAY_CONFIG = fileURLToPath(new URL('../gateway.yaml', import.meta.url));
  const wanted = readConfig({ ...process.env, BACKENDS: '', BACKENDS_FILE: '', REDIS_URL: '', GATEWAY_CONFIG });
  const { host, port, admin, rateLimit } = wanted;
  const taken: number[] = [];
  const children = await Promise.all(
    BACKENDS.map(async ({ name, port: own }) => DemoChild.start(name, await portOrAny('127.0.0.1', own, taken))),
  );
  // The file refers to these variables.
  for (const [index, { variable }] of BACKENDS.entries()) process.env[variable] = children[index]?.url;
  const config = {
    ...wanted,
    port: await portOrAny(host, port, taken),
    admin: admin && { ...admin, port: await portOrAny(admin.host, admin.port, taken) },
  };
  const gateway = await startGateway(config);
  stopOnSignals(async () => {
    await gateway.close();
    await Promise.all(children.map((child) => child.stop()));
  });
  for (const child of children) void sayWhenGone(child);
  const { url, adminUrl } = gateway;
  process.stdout.write(demoGuide({ url, adminUrl, children, taken, ...rateLimit }));
} catch (error) {
  exitOnStartError(error);
}
