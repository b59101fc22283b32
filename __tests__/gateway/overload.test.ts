import { afterEach, expect, test } from '@jest/globals';
import { ForcedShedding } from '../support/forced-shedding.ts';
import { Cleanup } from '../support/gateway.ts';
import { RawClient } from '../support/raw-client.ts';
import { eventually } from '../support/servers.ts';
import { closeAll, openBackend, openGateway } from './gateways.ts';

const cleanup = new Cleanup();
afterEach(async () => {
  await cleanup.run();
  await closeAll();
});

const GET = 'GET /a HTTP/1.1\r\nHost: gw.example\r\n\r\n';

test('in an overload the gateway rejects by the bytes, counts it, and its admin listener responds', async () => {
  const forced = cleanup.add(new ForcedShedding());
  const backend = await openBackend('a');
  const { url, adminUrl, logged } = await openGateway([backend.url], {
    LOAD_SHEDDING_DELAY_MS: '100',
    ACCESS_LOG: 'json',
  });
  const client = cleanup.add(await RawClient.connect(Number(new URL(url).port)));
  client.send(GET);
  expect((await client.response()).status).toBe(200);
  forced.isShedding = true;
  for (let count = 0; count < 3; count += 1) {
    client.send(GET);
    expect((await client.response()).status).toBe(503);
  }
  expect((await fetch(`${adminUrl}/readyz`)).status).toBe(200);
  const rejected = 'expressway_request_failures_total{route="default",service="",cause="load_shed"} 3';
  await eventually('all are counted', async () =>
    (await (await fetch(`${adminUrl}/metrics`)).text()).includes(rejected),
  );
  const lines = () => logged.filter(({ msg }) => msg === 'requests rejected early');
  await eventually('they are logged', () => lines().reduce((sum, line) => sum + line.rejected, 0) === 3);
  expect(logged.filter(({ msg, status }) => msg === 'request' && status === 503)).toEqual([]);
});

test('with LOAD_SHEDDING_DELAY_MS=0 no request is asked about before it is read', async () => {
  const forced = cleanup.add(new ForcedShedding());
  const backend = await openBackend('a');
  const { url } = await openGateway([backend.url], { LOAD_SHEDDING_DELAY_MS: '0' });
  const client = cleanup.add(await RawClient.connect(Number(new URL(url).port)));
  client.send(GET);
  expect((await client.response()).status).toBe(200);
  forced.isShedding = true;
  client.send(GET);
  // By the middleware.
  expect((await client.response()).field('x-request-id')).toBeDefined();
});
