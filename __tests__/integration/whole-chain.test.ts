import { createServer, type RequestListener } from 'node:http';
import { afterEach, describe, expect, test } from '@jest/globals';
import { circuitBreaker, GatewayEvents, ipRateLimit, roundRobinProxy, upgradeHandler } from 'expressway';
import { WebSocket, WebSocketServer } from 'ws';
import { EXPRESS_VERSIONS } from '../support/express-versions.ts';
import { Cleanup } from '../support/gateway.ts';
import { answer, answerOk, RecorderBackend } from '../support/recorder-backend.ts';
import { closedPort, listen } from '../support/servers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

interface App extends RequestListener {
  use(...handlers: unknown[]): unknown;
  set(setting: string, value: unknown): unknown;
}

describe.each(EXPRESS_VERSIONS)('the whole chain in %s', (_name, create) => {
  async function chain(backends: readonly string[], limit = 100) {
    const app = create() as unknown as App;
    const events = new GatewayEvents();
    const seen: string[] = [];
    events.on('limited', () => seen.push('limited'));
    events.on('forwarded', ({ outcome }) => seen.push(`forwarded ${outcome.kind}`));
    events.on('rejected', ({ outcome }) => seen.push(`rejected ${outcome.kind === 'rejected' && outcome.cause}`));
    events.on('circuitStateChange', ({ circuit, to }) => seen.push(`${circuit.replace(/^http.*/, 'backend')} ${to}`));
    app.use(
      ipRateLimit({ limit, events }),
      circuitBreaker({ minimumRequests: 10, events }),
      cleanup.add(roundRobinProxy({ backends, events, circuit: { minimumRequests: 3 } })),
    );
    const server = createServer(app);
    server.on('upgrade', upgradeHandler(app));
    const gateway = cleanup.add(await listen(app, server));
    return { ...gateway, seen };
  }

  test('alternates between backends, and responds with 429 over the limit', async () => {
    const backends = [cleanup.add(await RecorderBackend.start()), cleanup.add(await RecorderBackend.start())];
    const { url, seen } = await chain(
      backends.map((backend) => backend.url),
      4,
    );
    const statuses: number[] = [];
    for (let i = 0; i < 5; i += 1) statuses.push((await fetch(url, { headers: { 'x-nonce': String(i) } })).status);
    expect(statuses).toEqual([200, 200, 200, 200, 429]);
    expect(backends.map(({ requests }) => requests.map((request) => request.field('x-nonce')))).toEqual([
      ['0', '2'],
      ['1', '3'],
    ]);
    expect(seen).toEqual([...Array(4).fill('forwarded completed'), 'limited']);
  });

  test('a failing backend opens its own circuit, not that of the route', async () => {
    const bad = cleanup.add(await RecorderBackend.start(answer('HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n')));
    const good = cleanup.add(await RecorderBackend.start(answerOk));
    const { url, seen } = await chain([bad.url, good.url]);
    for (let i = 0; i < 20; i += 1) await fetch(url);
    expect(bad.requests).toHaveLength(3);
    expect(seen.filter((entry) => entry.endsWith('open'))).toEqual(['backend open']);
  });

  test('when all backends fail: 502, then 503, and the circuit of the route opens', async () => {
    const { url, seen } = await chain([`http://127.0.0.1:${await closedPort()}`]);
    const statuses: number[] = [];
    for (let i = 0; i < 12; i += 1) statuses.push((await fetch(url)).status);
    expect(statuses).toEqual([502, 502, 502, ...Array(9).fill(503)]);
    expect(seen).toContain('backend open');
    expect(seen).toContain('rejected no_backend');
  });

  test('mounted at a path, the backend gets the rest of the path', async () => {
    const backend = cleanup.add(await RecorderBackend.start());
    const app = create() as unknown as App;
    app.use('/api', cleanup.add(roundRobinProxy({ backends: [backend.url] })));
    const { url } = cleanup.add(await listen(app));
    expect((await fetch(`${url}/api/x?y=1`)).status).toBe(200);
    expect((await fetch(`${url}/other`)).status).toBe(404);
    expect(backend.requests.map((request) => request.target)).toEqual(['/x?y=1']);
  });

  test('WebSockets pass from the very first request', async () => {
    const echo = await listen((_req, res) => res.end());
    const sockets = new WebSocketServer({ server: echo.server });
    sockets.on('connection', (socket) => socket.on('message', (data) => socket.send(`echo ${data}`)));
    cleanup.add(echo);
    const { url } = await chain([echo.url]);
    const socket = new WebSocket(url.replace('http', 'ws'));
    const reply = new Promise((resolve, reject) => {
      socket.on('open', () => socket.send('hi'));
      socket.on('message', (data) => resolve(String(data)));
      socket.on('error', reject);
    });
    expect(await reply).toBe('echo hi');
    socket.terminate();
  });

  test('errors of other handlers, and routes beside the proxy, are left to the app', async () => {
    const backend = cleanup.add(await RecorderBackend.start());
    const app = create() as unknown as App;
    app.set('env', 'test');
    app.use('/own', (_req: unknown, res: { end(text: string): void }) => res.end('own'));
    app.use('/throws', () => {
      throw new Error('mine');
    });
    app.use(cleanup.add(roundRobinProxy({ backends: [backend.url] })));
    const { url } = cleanup.add(await listen(app));
    expect(await (await fetch(`${url}/own`)).text()).toBe('own');
    expect((await fetch(`${url}/throws`)).status).toBe(500);
    expect((await fetch(url)).status).toBe(200);
  });
});
