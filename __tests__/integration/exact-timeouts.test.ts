import { afterEach, expect, test } from '@jest/globals';
import express from 'express';
import { type RoundRobinProxyOptions, type ServiceRouterOptions, serviceRouter } from '../../lib/index.ts';
import { Cleanup, proxyGateway } from '../support/gateway.ts';
import { RecorderBackend } from '../support/recorder-backend.ts';
import { listen } from '../support/servers.ts';
import { rawSilence, rawTunnel } from '../support/tunnels.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const SHORT_MS = 20;
const ALL_SHORT = {
  responseTimeoutMs: SHORT_MS,
  idleTimeoutMs: SHORT_MS,
  tunnel: { idleTimeoutMs: SHORT_MS, sendTimeoutMs: SHORT_MS, closeTimeoutMs: SHORT_MS },
};
/** Timeouts of `ALL_SHORT` one after the other. With the timers of the default timeouts, one takes at least 500 ms. */
const ENOUGH = 10;

/** A backend that responds to `/begun` with the begin of a response, and to other requests not at all. */
async function silentBackend(): Promise<string> {
  const { url } = cleanup.add(
    await listen((req, res) => {
      if (req.url === '/begun') res.writeHead(200, { 'Content-Length': 9 }).write('x');
    }),
  );
  return url;
}

async function proxied(own: Partial<RoundRobinProxyOptions>): Promise<string> {
  const backends = [await silentBackend()];
  return cleanup.add(await proxyGateway({ backends, retry: { attempts: 0 }, ...own })).url;
}

async function routed(own: Partial<ServiceRouterOptions['routes'][number]>): Promise<string> {
  const router = serviceRouter({
    services: { silent: { backends: [await silentBackend()], retry: { attempts: 0 } } },
    routes: [{ service: 'silent', ...own }],
  });
  cleanup.add(router);
  return cleanup.add(await listen(express().use(router))).url;
}

/** A tunnel in which nobody sends anything. */
async function tunnelled(tunnel: NonNullable<RoundRobinProxyOptions['tunnel']>): Promise<Ending> {
  const backend = cleanup.add(await RecorderBackend.start(rawSilence));
  const gateway = cleanup.add(await proxyGateway({ backends: [backend.url], tunnel }));
  const client = cleanup.add(await rawTunnel(gateway.port));
  return () => client.closed().then(() => 'closed');
}

/** Says how something ends. */
type Ending = () => Promise<string>;

const asking =
  (url: string): Ending =>
  async () => {
    const res = await fetch(url);
    const read = res.text().then(
      () => 'whole',
      () => 'cut',
    );
    return `${res.status} ${await read}`;
  };

test.each<[string, () => Promise<Ending>, string]>([
  [
    'responseTimeoutMs of a proxy',
    async () => asking(`${await proxied({ responseTimeoutMs: SHORT_MS })}/late`),
    '504 whole',
  ],
  ['idleTimeoutMs of a proxy', async () => asking(`${await proxied({ idleTimeoutMs: SHORT_MS })}/begun`), '200 cut'],
  [
    'responseTimeoutMs of a route',
    async () => asking(`${await routed({ responseTimeoutMs: SHORT_MS })}/late`),
    '504 whole',
  ],
  ['idleTimeoutMs of a route', async () => asking(`${await routed({ idleTimeoutMs: SHORT_MS })}/begun`), '200 cut'],
  ['idleTimeoutMs of tunnels', () => tunnelled({ idleTimeoutMs: SHORT_MS }), 'closed'],
])('%s is exact, whatever the other timeouts are', async (_timeout, setUp, expected) => {
  const timesOut = asking(`${await proxied(ALL_SHORT)}/late`);
  await timesOut();
  const ends = await setUp();
  let end: string | undefined;
  const ended = ends().then((what) => {
    end = what;
  });
  for (let timeouts = 0; timeouts < ENOUGH && end === undefined; timeouts += 1)
    expect(await timesOut()).toBe('504 whole');
  expect(end).toBe(expected);
  await ended;
});
