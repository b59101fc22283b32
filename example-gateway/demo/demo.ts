import { createServer } from 'node:net';
import { stopOnSignals } from 'expressway';
import { exitOnStartError, readConfig, startGateway } from 'expressway/gateway';
import { createApp } from '../app.ts';
import { DemoChild } from './demo-child.ts';
import { demoGuide } from './demo-guide.ts';

/** The port itself when it can be had, else 0 (any free one), with the port noted in `taken`. */
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
  const wanted = readConfig({ ...process.env, BACKENDS: '', BACKENDS_FILE: '', REDIS_URL: '' });
  const { host, port, admin, rateLimit, circuit } = wanted;
  const taken: number[] = [];
  const portOne = await portOrAny('127.0.0.1', 8081, taken);
  const portTwo = await portOrAny('127.0.0.1', 8082, taken);
  const children = await Promise.all([DemoChild.start('one', portOne), DemoChild.start('two', portTwo)]);
  const config = {
    ...wanted,
    backends: children.map((child) => child.url),
    port: await portOrAny(host, port, taken),
    admin: admin && { ...admin, port: await portOrAny(admin.host, admin.port, taken) },
  };
  const gateway = await startGateway(config, { app: createApp });
  stopOnSignals(async () => {
    await gateway.close();
    await Promise.all(children.map((child) => child.stop()));
  });
  for (const child of children) void sayWhenGone(child);
  const { url, adminUrl } = gateway;
  process.stdout.write(demoGuide({ url, adminUrl, children, taken, ...rateLimit, openMs: circuit.openMs }));
} catch (error) {
  exitOnStartError(error);
}
