import { fileURLToPath } from 'node:url';
import { afterEach, expect, test } from '@jest/globals';
import { endAll, Proc } from '../gateway/proc.ts';
import { until } from '../gateway/until.ts';
import { ask } from '../support/ask.ts';
import { ClosingClients } from '../support/closing-client.ts';

/** For longer runs: `RESTARTS=100`. */
const RESTARTS = Number(process.env.RESTARTS ?? 4);
const CLIENTS = 40;
const REQUESTS_PER_SECOND = 300;

let clients: ClosingClients;

afterEach(async () => {
  await clients.end();
  await endAll();
});

const backend = (port = 0): Proc =>
  new Proc(fileURLToPath(new URL('../support/rolling-backend.ts', import.meta.url)), {}, [String(port)]);

const gateway = (backends: readonly string[]): Proc =>
  new Proc('server.ts', {
    HOST: '127.0.0.1',
    PORT: '0',
    ADMIN_PORT: '0',
    BACKENDS: backends.join(),
    RATE_LIMIT_MAX: '1000000',
    // A backend that is away opens its circuit, and is asked again when that time is up.
    CIRCUIT_OPEN_MS: '200',
  });

const urlOf = (proc: Proc): Promise<string> => proc.said(/"url":"([^"]+)"/);

/** Whether every backend is available to everybody. */
async function isWhole(admin: string): Promise<boolean> {
  const { backends } = (await ask(`${admin}/status`)).json as { backends: { circuit: string }[] };
  return backends.every(({ circuit }) => circuit === 'closed');
}

async function stop(proc: Proc): Promise<void> {
  proc.kill('SIGTERM');
  expect([await proc.exit(), proc.stderr]).toEqual([0, '']);
}

test(`no request fails in ${RESTARTS} restarts of a gateway, when a new one listens before the old one stops`, async () => {
  const backends = await Promise.all([urlOf(backend()), urlOf(backend())]);
  let serving = gateway(backends);
  let origin = await urlOf(serving);
  const method = (sent: number) => (sent % 5 === 0 ? 'POST' : 'GET');
  clients = new ClosingClients(CLIENTS, REQUESTS_PER_SECOND, () => origin, method);
  for (let restart = 0; restart < RESTARTS; restart += 1) {
    const next = gateway(backends);
    origin = await urlOf(next);
    await stop(serving);
    serving = next;
  }
  await clients.end();
  await stop(serving);
  expect(Object.fromEntries(clients.results)).toEqual({ 200: clients.total });
  expect(clients.total).toBeGreaterThan(RESTARTS * CLIENTS);
}, 300_000);

test(`no request fails in ${RESTARTS} restarts of the backends, when one of two is down at a time`, async () => {
  const backends = [backend(), backend()];
  const urls = await Promise.all(backends.map(urlOf));
  const front = gateway(urls);
  const origin = await urlOf(front);
  const admin = await front.said(/"adminUrl":"([^"]+)"/);
  // GET alone: of the gateway's own connections some are silent for the whole grace, and a POST that crosses their end
  // cannot be repeated.
  clients = new ClosingClients(CLIENTS, REQUESTS_PER_SECOND, () => origin);
  await until(() => clients.answeredBy.size === 2);
  for (let restart = 0; restart < RESTARTS; restart += 1) {
    const place = restart % 2;
    await stop(backends[place] as Proc);
    const next = backend(Number(new URL(urls[place] as string).port));
    await urlOf(next);
    backends[place] = next;
    // The next one goes when this one has its full share again, not while it is on trial.
    await until(async () => clients.answeredBy.size >= restart + 3 && (await isWhole(admin)));
  }
  await clients.end();
  await stop(front);
  expect(Object.fromEntries(clients.results)).toEqual({ 200: clients.total });
  expect(clients.total).toBeGreaterThan(RESTARTS * CLIENTS);
}, 300_000);
