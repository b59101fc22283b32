import { expect, test } from '@jest/globals';
import express from 'express';
import { ipRateLimit, roundRobinProxy } from 'expressway';
import { readConfig } from '../../lib/gateway/config/config.ts';
import type { HostedApp } from '../../lib/gateway/hosted-app.ts';
import { createLogger } from '../../lib/gateway/logging/logger.ts';
import { startGateway } from '../../lib/gateway/start-gateway.ts';
import { listen } from '../support/servers.ts';

const ENV = { HOST: '127.0.0.1', PORT: '0', ADMIN_PORT: '', BACKENDS: 'http://127.0.0.1:1' };

/** An app that records which of its parts are closed. */
function recording(closed: string[], ofProxy?: Error) {
  return (): HostedApp => {
    /** The same, with a `close()` that is recorded: the parts themselves are frozen. */
    const recorded = <T extends { close(): Promise<void> }>(name: string, part: T, error?: Error): T =>
      Object.create(part, {
        close: {
          async value() {
            closed.push(name);
            await part.close();
            if (error !== undefined) throw error;
          },
        },
      });
    const limiter = recorded('limiter', ipRateLimit());
    const proxy = recorded('proxy', roundRobinProxy({ backends: ['http://127.0.0.1:1'] }), ofProxy);
    return { app: express(), limiter, proxy };
  };
}

const start = (env: Record<string, string>, app: () => HostedApp) =>
  startGateway(readConfig({ ...ENV, ...env }), { app, log: createLogger('silent') });

test.each([
  ['a certificate that cannot be read', { TLS_CERT: '/nowhere.pem', TLS_KEY: '/nowhere.pem' }, /TLS_CERT/],
  ['a port that is taken', undefined, /is in use/],
])('with %s, everything that the app has opened is closed', async (_, env, message) => {
  const other = await listen(() => {});
  const closed: string[] = [];
  await expect(start(env ?? { PORT: String(other.port) }, recording(closed))).rejects.toThrow(message);
  expect(closed).toEqual(['limiter', 'proxy']);
  await other.close();
});

test('the error of the start counts, also if a part then fails to close', async () => {
  const other = await listen(() => {});
  const app = recording([], new Error('of close()'));
  await expect(start({ PORT: String(other.port) }, app)).rejects.toThrow(/is in use/);
  await other.close();
});
