import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { afterEach, expect, test } from '@jest/globals';
import { Cleanup, proxyGateway } from '../support/gateway.ts';
import { pause, stays } from '../support/pause.ts';
import { RecorderBackend } from '../support/recorder-backend.ts';
import { eventually } from '../support/servers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const LISTENER = `
  const server = require('node:net').createServer();
  server.listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => console.log(server.address().port));
`;

/** A port at which connections are neither accepted nor refused: a stopped listener whose backlog is full. */
async function blackHole(): Promise<number> {
  // The kernel goes on connecting until the listener is gone.
  cleanup.add({
    close: () => eventually('no connection is being opened', () => !isConnecting()),
  });
  const child = spawn(process.execPath, ['-e', LISTENER], { stdio: ['ignore', 'pipe', 'inherit'] });
  cleanup.add({ close: () => child.kill('SIGKILL') });
  const [line] = (await once(child.stdout, 'data')) as [Buffer];
  const port = Number(String(line));
  child.kill('SIGSTOP');
  // The kernel completes connections for as long as the backlog has room, and drops them silently after that.
  for (;;) {
    const socket = connect(port, '127.0.0.1');
    socket.on('error', () => {});
    cleanup.add({ close: () => socket.destroy() });
    if (!(await connects(socket))) return port;
  }
}

const isConnecting = () => process.getActiveResourcesInfo().includes('ConnectWrap');

async function connects(socket: Socket): Promise<boolean> {
  const connected = once(socket, 'connect').then(() => true);
  const late = pause('loopback connects far sooner, or not at all', 500)
    // This process may not have had the time to see it.
    .then(() => new Promise(setImmediate))
    .then(() => false);
  return Promise.race([connected, late]);
}

test.each(['GET', 'POST'])(
  'F10: a backend that accepts no connections delays a %s by connectTimeoutMs only',
  async (method) => {
    const port = await blackHole();
    const good = cleanup.add(await RecorderBackend.start());
    const { url, proxy } = cleanup.add(
      await proxyGateway({
        backends: [`http://127.0.0.1:${port}`, good.url],
        connectTimeoutMs: 400,
        circuit: { minimumRequests: 2 },
      }),
    );
    const failures: string[] = [];
    proxy.events.on('attemptFailed', ({ outcome }) =>
      failures.push(outcome.kind === 'failed' ? `${outcome.cause}: ${outcome.error.message}` : outcome.kind),
    );
    const request = { method, ...(method === 'POST' ? { body: 'content' } : {}) };
    for (let i = 0; i < 4; i += 1) expect((await fetch(url, request)).status).toBe(200);
    // Two were enough to leave it out.
    expect(failures).toEqual(Array(2).fill(expect.stringMatching(/^connection_timeout: .* timeout: 400ms/)));
    expect(proxy.status()[0]?.circuit).toBe('open');
    expect(good.requests).toHaveLength(4);
  },
);

test('F10: a backend that accepts no connections is a 504 when it is the only one', async () => {
  const { url } = cleanup.add(
    await proxyGateway({ backends: [`http://127.0.0.1:${await blackHole()}`], connectTimeoutMs: 400 }),
  );
  const response = await fetch(url);
  expect([response.status, ((await response.json()) as { cause: string }).cause]).toEqual([504, 'connection_timeout']);
});

/** A port at which connections are accepted, and nothing is ever sent. */
async function silence(): Promise<number> {
  const server = createServer((socket) => socket.on('error', () => {}).resume());
  await once(server.listen(0, '127.0.0.1'), 'listening');
  cleanup.add(server);
  return (server.address() as AddressInfo).port;
}

test.each([
  ['http1', 'accepts no connections', blackHole],
  ['http2', 'accepts no connections', blackHole],
  ['http2', 'sends no settings', silence],
] as const)(
  'H02: %s: close() does not wait for a backend that %s, once the client has left',
  async (protocol, _what, backend) => {
    const origin = `http://127.0.0.1:${await backend()}`;
    const { url, proxy } = cleanup.add(
      await proxyGateway({ backends: [origin], protocol, connectTimeoutMs: 3_600_000 }),
    );
    const client = new AbortController();
    const response = fetch(url, { signal: client.signal });
    await eventually('the request waits for its connection', () => proxy.load().inFlight === 1);
    let isClosed = false;
    void proxy.close().then(() => {
      isClosed = true;
    });
    // The request is still in progress.
    await stays('the proxy is open', () => !isClosed, 200);
    client.abort();
    await expect(response).rejects.toThrow('aborted');
    await eventually('the proxy is closed', () => isClosed);
    expect(proxy.load().inFlight).toBe(0);
  },
);
