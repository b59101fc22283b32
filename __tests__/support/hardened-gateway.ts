import { createServer } from 'node:http';
import express, { type Express } from 'express';
import {
  type HardenServerOptions,
  hardenServer,
  type RoundRobinProxyOptions,
  roundRobinProxy,
  upgradeHandler,
} from 'expressway';
import type { TestGateway } from './gateway.ts';
import { listen } from './servers.ts';

/** The proxy alone, in an app on a server with bounds. */
export async function hardenedGateway(
  options: RoundRobinProxyOptions,
  bounds: HardenServerOptions = {},
  prepare: (app: Express) => void = () => {},
): Promise<TestGateway> {
  const app = express();
  prepare(app);
  const proxy = roundRobinProxy(options);
  app.use(proxy);
  const running = await listen(app, hardenServer(createServer(app), bounds));
  running.server.on('upgrade', upgradeHandler(app));
  return {
    ...running,
    proxy,
    async close() {
      await running.close();
      await proxy.close();
    },
  };
}
