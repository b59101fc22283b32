import { createServer, type Server } from 'node:http';
import express, { type Express } from 'express';
import { type RoundRobinProxy, type RoundRobinProxyOptions, roundRobinProxy, upgradeHandler } from 'expressway';
import { listen, type RunningServer } from './servers.ts';

export interface TestGateway extends RunningServer {
  readonly proxy: RoundRobinProxy;
}

/** An Express 5 app with nothing but the proxy, upgrades included. */
export async function proxyGateway(
  options: RoundRobinProxyOptions,
  prepare: (app: Express) => void = () => {},
  serverOf: (app: Express) => Server = createServer,
): Promise<TestGateway> {
  const app = express();
  prepare(app);
  const proxy = roundRobinProxy(options);
  app.use(proxy);
  const running = await listen(app, serverOf(app));
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

/** Collects what must be closed, and closes it in the opposite order. */
export class Cleanup {
  readonly #closers: (() => unknown)[] = [];

  add<T extends { close(): unknown }>(resource: T): T {
    this.#closers.push(() => resource.close());
    return resource;
  }

  async run(): Promise<void> {
    for (const close of this.#closers.splice(0).reverse()) await close();
  }
}
