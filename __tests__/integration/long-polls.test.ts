import { afterEach, describe, expect, test } from '@jest/globals';
import type { SelectionPolicy } from 'expressway';
import { Cleanup, proxyGateway } from '../support/gateway.ts';
import { RawClient } from '../support/raw-client.ts';
import { answerOk, RecorderBackend, type Script } from '../support/recorder-backend.ts';
import { eventually } from '../support/servers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const TIMEOUT_MS = 400;

/** Responds at once to everything but `/poll`, to which it never responds. */
const polled: Script = (socket, request, index) => {
  if (!request.target.startsWith('/poll')) answerOk(socket, request, index);
};

/** So many requests at once, each of another client. */
const fromClients = (count: number, url: string): Promise<Response>[] =>
  Array.from({ length: count }, (_, index) => fetch(url, { headers: { 'X-Forwarded-For': `192.0.2.${index}` } }));

const firstAvailable: SelectionPolicy = {
  select: (backends, _exchange, tried) => backends.find((one) => one.isAvailable() && !tried.includes(one)),
};

async function setUp(script: Script, options: Partial<Parameters<typeof proxyGateway>[0]> = {}) {
  const backend = cleanup.add(await RecorderBackend.start(script));
  const timeouts = { responseTimeoutMs: TIMEOUT_MS };
  const gateway = cleanup.add(
    await proxyGateway({ backends: [backend.url], ...timeouts, ...options }, (app) => app.set('trust proxy', true)),
  );
  const circuit = () => gateway.proxy.status()[0]?.circuit;
  return { backend, circuit, ...gateway };
}

describe('response timeouts', () => {
  test('keep the circuit closed when the backend responds to another request meanwhile', async () => {
    const { url, backend, circuit } = await setUp(polled, { responseTimeoutMs: 1_500 });
    for (let round = 1; round <= 2; round++) {
      const polls = fromClients(6, `${url}/poll`);
      await eventually('all are with the backend', () => backend.requests.length === 7 * round - 1);
      // One only: more of them would keep the circuit closed by their number.
      expect((await fetch(`${url}/fast`)).status).toBe(200);
      for (const poll of polls) expect((await poll).status).toBe(504);
    }
    expect(circuit()).toBe('closed');
  });

  test.each([
    ['six clients', 6, 'open'],
    ['one client, with six requests', 1, 'closed'],
  ])('from a backend that never responds: %s', async (_what, clients, state) => {
    const { url, circuit } = await setUp(() => {});
    const polls = Array.from({ length: 6 / clients }, () => fromClients(clients, `${url}/poll`)).flat();
    for (const poll of polls) expect((await poll).status).toBe(504);
    expect(circuit()).toBe(state);
  });

  test('of one client open the circuit when another backend responds to the same requests', async () => {
    const hung = cleanup.add(await RecorderBackend.start(() => {}));
    const { url, backend, proxy } = await setUp(answerOk, { loadBalancing: firstAvailable });
    proxy.setBackends([hung.url, backend.url]);
    for (let request = 0; request < 5; request += 1) expect((await fetch(`${url}/${request}`)).status).toBe(200);
    expect(proxy.status().map(({ circuit }) => circuit)).toEqual(['open', 'closed']);
    expect(hung.requests).toHaveLength(5);
  });

  test('open the circuit when the backend responded to others only before the whole request was sent', async () => {
    const { url, port, backend, circuit } = await setUp(polled);
    const uploads = Array.from({ length: 6 }, async (_, index) => {
      const client = cleanup.add(await RawClient.connect(port));
      client.send(
        `POST /poll HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.${index}\r\nContent-Length: 10\r\n\r\n12345`,
      );
      return client;
    });
    const clients = await Promise.all(uploads);
    await eventually('all have begun', () => backend.connections.size === 6);
    expect((await fetch(`${url}/fast`)).status).toBe(200);
    for (const client of clients) client.send('67890');
    for (const client of clients) expect((await client.response()).status).toBe(504);
    expect(circuit()).toBe('open');
  });

  test('open the circuit when the only responses meanwhile are errors', async () => {
    const failing: Script = (socket, request) => {
      if (!request.target.startsWith('/poll')) socket.write('HTTP/1.1 500 Error\r\nContent-Length: 0\r\n\r\n');
    };
    const { url, circuit } = await setUp(failing, { circuit: { minimumRequests: 6, windowMs: 60_000 } });
    const polls = fromClients(6, `${url}/poll`);
    expect((await fetch(`${url}/fast`)).status).toBe(500);
    await Promise.all(polls);
    expect(circuit()).toBe('open');
  });

  test('keep the circuit closed when the backend passes its health checks meanwhile', async () => {
    const healthCheck = { path: '/healthz', intervalMs: 50, timeoutMs: 2_000 };
    const { url, backend, circuit } = await setUp(polled, { healthCheck, responseTimeoutMs: 1_500 });
    await eventually('it was checked', () => backend.requests.length > 0);
    const polls = fromClients(6, `${url}/poll`);
    for (const poll of polls) expect((await poll).status).toBe(504);
    expect(circuit()).toBe('closed');
  });

  test('name the option and the variable in the response', async () => {
    const { url } = await setUp(polled);
    const response = await fetch(`${url}/poll`);
    expect(await response.json()).toMatchObject({
      status: 504,
      cause: 'http_response_timeout',
      detail: 'The backend sent no response within 400 ms (responseTimeoutMs, RESPONSE_TIMEOUT_MS).',
    });
  });
});
