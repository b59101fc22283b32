import { createServer } from 'node:http';
import type { Express } from 'express';
import { type HardenServerOptions, hardenServer, type RoundRobinProxyOptions } from 'expressway';
import { proxyGateway, type TestGateway } from './gateway.ts';

/** The proxy alone, in an app on a server with bounds. */
export function hardenedGateway(
  options: RoundRobinProxyOptions,
  bounds: HardenServerOptions = {},
  prepare: (app: Express) => void = () => {},
): Promise<TestGateway> {
  return proxyGateway(options, prepare, (app) => hardenServer(createServer(app), bounds));
}
