import { afterEach, describe, expect, test } from '@jest/globals';
import { Cleanup, proxyGateway } from '../support/gateway.ts';
import { answerOk, RecorderBackend, type Script } from '../support/recorder-backend.ts';
import { eventually } from '../support/servers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const TIMEOUT_MS = 400;

/** Responds at once to everything but `/poll`, to which it never responds. */
const polled: Script = (socket, request, index) => {
  if (!request.target.startsWith('/poll')) answerOk(socket, request, index);
};

async function setUp(script: Script, options: Partial<Parameters<typeof proxyGateway>[0]> = {}) {
  const backend = cleanup.add(await RecorderBackend.start(script));
  const timeouts = { responseTimeoutMs: TIMEOUT_MS };
  const gateway = cleanup.add(await proxyGateway({ backends: [backend.url], ...timeouts, ...options }));
  const circuit = () => gateway.proxy.status()[0]?.circuit;
  return { backend, circuit, ...gateway };
}

describe('responses that do not come in time', () => {
  test('say nothing of a backend that responds to other requests meanwhile: its circuit stays closed', async () => {
    const { url, circuit } = await setUp(polled);
    for (let round = 0; round < 2; round++) {
      const polls = Array.from({ length: 6 }, () => fetch(`${url}/poll`));
      let arePending = true;
      const ended = Promise.all(polls).finally(() => {
        arePending = false;
      });
      // Others, all the while: none of them suffers.
      while (arePending) expect((await fetch(`${url}/fast`)).status).toBe(200);
      for (const poll of await ended) expect(poll.status).toBe(504);
    }
    expect(circuit()).toBe('closed');
    expect((await fetch(`${url}/fast`)).status).toBe(200);
  });

  test('open the circuit of a backend that responds to nothing', async () => {
    const { url, circuit } = await setUp(() => {});
    const polls = Array.from({ length: 6 }, () => fetch(`${url}/any`));
    for (const poll of polls) expect((await poll).status).toBe(504);
    expect(circuit()).toBe('open');
  });

  test('open it too when the only responses meanwhile are errors', async () => {
    const failing: Script = (socket, request) => {
      if (!request.target.startsWith('/poll')) socket.write('HTTP/1.1 500 Error\r\nContent-Length: 0\r\n\r\n');
    };
    const { url, circuit } = await setUp(failing, { circuit: { minimumRequests: 6, windowMs: 60_000 } });
    const polls = Array.from({ length: 6 }, () => fetch(`${url}/poll`));
    expect((await fetch(`${url}/fast`)).status).toBe(500);
    await Promise.all(polls);
    expect(circuit()).toBe('open');
  });

  test('say nothing of a backend that passes its health checks meanwhile', async () => {
    const healthCheck = { path: '/healthz', intervalMs: 50, timeoutMs: 2_000 };
    const { url, backend, circuit } = await setUp(polled, { healthCheck, responseTimeoutMs: 1_500 });
    await eventually('it was checked', () => backend.requests.length > 0);
    const polls = Array.from({ length: 6 }, () => fetch(`${url}/poll`));
    for (const poll of polls) expect((await poll).status).toBe(504);
    expect(circuit()).toBe('closed');
  });

  test('tell the client the option and the variable to raise', async () => {
    const { url } = await setUp(polled);
    const response = await fetch(`${url}/poll`);
    expect(await response.json()).toMatchObject({
      status: 504,
      cause: 'http_response_timeout',
      detail: 'The backend sent no response within 400 ms (responseTimeoutMs, RESPONSE_TIMEOUT_MS).',
    });
  });
});
