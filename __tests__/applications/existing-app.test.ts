import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { Agent, type IncomingMessage, request, type ServerResponse } from 'node:http';
import { buffer } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { createGunzip } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { WebSocket, WebSocketServer } from 'ws';
import { Cleanup } from '../support/gateway.ts';
import { eventually, listen } from '../support/servers.ts';
import { describeInstalled, installed } from './installed.ts';

const USERS = ['alice', 'bob', 'carol', 'dave'];

/** What the process of the app saw. */
interface Seen {
  readonly morgan: readonly string[];
  readonly accessLog: readonly string[];
  readonly errors: readonly string[];
  readonly warnings: readonly string[];
  readonly tenants: readonly { what: string; user: string; tenant: string }[];
  readonly spans: readonly { name: string; kind: number; traceId: string; spanId: string; parent?: string }[];
  readonly metrics: string;
}

interface Asked {
  readonly method?: string;
  readonly headers?: Record<string, string>;
  readonly body?: string | Buffer;
  readonly agent?: Agent;
}

interface Received {
  readonly req: IncomingMessage;
  readonly body: Buffer;
}

describeInstalled('the suite in an existing app', () => {
  describe.each([
    ['Express 5', 'express'],
    ['Express 4', 'express4'],
  ])('of %s', (_name, packageName) => {
    const cleanup = new Cleanup();
    const received: Received[] = [];
    const waiting: ServerResponse[] = [];
    const held: ServerResponse[] = [];
    let app: ChildProcess;
    let port: number;

    beforeAll(async () => {
      const backend = cleanup.add(await listen(answer));
      const sockets = new WebSocketServer({ server: backend.server });
      sockets.on('connection', (socket, req) => socket.send(`for ${req.headers['x-user']}`));
      app = fork(fileURLToPath(new URL('existing-app.ts', import.meta.url)), {
        env: { ...process.env, NODE_OPTIONS: '', EXPRESS: packageName, BACKENDS: backend.url },
        execArgv: [],
      });
      [port] = (await once(app, 'message')) as [number];
    });
    afterAll(async () => {
      app.disconnect();
      await once(app, 'exit');
      await cleanup.run();
    });

    /** The backend. */
    async function answer(req: IncomingMessage, res: ServerResponse): Promise<void> {
      received.push({ req, body: await buffer(req) });
      switch (req.url) {
        case '/headers':
          res.setHeader('Vary', 'X-Backend').setHeader('Access-Control-Expose-Headers', 'X-Total');
          res.setHeader('Content-Security-Policy', "default-src 'none'").setHeader('Set-Cookie', 'of=the-backend');
          res.setHeader('Content-Type', 'text/plain').end('with headers');
          break;
        case '/wait':
          waiting.push(res);
          if (waiting.length === USERS.length) for (const one of waiting.splice(0)) one.end('all are here');
          break;
        case '/text':
        case '/events':
          res.setHeader('Content-Type', req.url === '/text' ? 'text/plain' : 'text/event-stream').write('first,');
          held.push(res);
          break;
        case '/cut':
          res.setHeader('Content-Length', 10).write('half', () => res.destroy());
          break;
        case '/reset':
          res.destroy();
          break;
        case '/missing':
          res.writeHead(404).end('not here');
          break;
        default:
          res.end('ok');
      }
    }

    const last = (): Received => received.at(-1) as Received;

    async function seen(): Promise<Seen> {
      app.send('tell');
      const [message] = await once(app, 'message');
      return message;
    }

    async function open(
      path: string,
      { method = 'GET', headers = {}, body, agent }: Asked = {},
    ): Promise<IncomingMessage> {
      const asked = request({ port, host: '127.0.0.1', path, method, headers, ...(agent && { agent }) });
      asked.end(body);
      const [res] = (await once(asked, 'response')) as [IncomingMessage];
      return res;
    }

    async function ask(path: string, asked?: Asked) {
      const res = await open(path, asked);
      const content = await buffer(res);
      return { status: res.statusCode, headers: res.headers, text: content.toString() };
    }

    /** The cookie of a session. */
    async function signIn(name: string): Promise<string> {
      const headers = { 'content-type': 'application/x-www-form-urlencoded' };
      const body = new URLSearchParams({ username: name, password: `${name}'s password` }).toString();
      const res = await ask('/sign-in', { method: 'POST', headers, body });
      expect([res.status, JSON.parse(res.text)]).toEqual([200, { name }]);
      return String(res.headers['set-cookie']?.[0]).replace(/;.*/, '');
    }

    test('sessions: its own routes and the backend get the same user, and clients cannot forge one', async () => {
      const cookie = await signIn('alice');
      expect(JSON.parse((await ask('/me', { headers: { cookie, 'x-tenant': 'a' } })).text)).toEqual({
        user: { name: 'alice' },
        tenant: 'a',
      });
      const { status } = await ask('/api/orders/1', { headers: { cookie, 'x-user': 'mallory', X_User: 'mallory' } });
      expect([status, last().req.url, last().req.headers['x-user']]).toEqual([200, '/orders/1', 'alice']);
      expect(last().req.rawHeaders.join()).not.toContain('mallory');
      const before = received.length;
      expect((await ask('/api/orders/1', { headers: { 'x-user': 'mallory' } })).status).toBe(401);
      expect(received).toHaveLength(before);
    });

    test('headers of cors, helmet, the session and the suite are sent beside those of the backend', async () => {
      const cookie = await signIn('alice');
      const origin = 'https://shop.example';
      const preflight = { origin, 'access-control-request-method': 'PUT' };
      expect(await ask('/api/headers', { method: 'OPTIONS', headers: preflight })).toMatchObject({
        status: 204,
        headers: { 'access-control-allow-origin': origin, 'access-control-allow-credentials': 'true' },
      });
      const { headers, text } = await ask('/api/headers', { headers: { origin, cookie } });
      expect(text).toBe('with headers');
      expect(headers).toMatchObject({
        'access-control-allow-origin': origin,
        'access-control-allow-credentials': 'true',
        'x-content-type-options': 'nosniff',
        'strict-transport-security': expect.stringContaining('max-age='),
        'content-security-policy': "default-src 'none'",
        'server-timing': expect.stringMatching(/./),
        'x-request-id': expect.stringMatching(/./),
      });
      const list = (name: string) =>
        String(headers[name])
          .toLowerCase()
          .split(/\s*,\s*/)
          .sort();
      expect(list('vary')).toEqual(['accept-encoding', 'origin', 'x-backend']);
      expect(list('access-control-expose-headers')).toEqual(['x-request-id', 'x-total']);
      expect(headers['set-cookie']).toEqual(
        expect.arrayContaining([expect.stringMatching(/^connect\.sid=/), 'of=the-backend']),
      );
    });

    test.each(['/api/text', '/api/events'])(
      'compression: bytes that the backend has sent of %s are not held back',
      async (path) => {
        const headers = { cookie: await signIn('alice'), 'accept-encoding': 'gzip' };
        const res = await open(path, { headers });
        expect(res.headers['content-encoding']).toBe('gzip');
        let text = '';
        const decoded = res
          .pipe(createGunzip())
          .setEncoding('utf8')
          .on('data', (chunk) => {
            text += chunk;
          });
        await eventually('the first part is there', () => text === 'first,');
        held.pop()?.end('last');
        await once(decoded, 'end');
        expect(text).toBe('first,last');
      },
    );

    test('uploads: multer handles its own route and its errors; the backend gets every byte of its route', async () => {
      const cookie = await signIn('alice');
      const file = (size: number) => {
        const head = '--b\r\nContent-Disposition: form-data; name="picture"; filename="me.png"\r\n\r\n';
        return Buffer.concat([Buffer.from(head), Buffer.alloc(size, 0xe9), Buffer.from('\r\n--b--\r\n')]);
      };
      const headers = { cookie, 'content-type': 'multipart/form-data; boundary=b' };
      const small = await ask('/avatar', { method: 'POST', headers, body: file(1_000) });
      expect([small.status, JSON.parse(small.text)]).toEqual([200, { name: 'me.png', size: 1_000 }]);
      const big = await ask('/avatar', { method: 'POST', headers, body: file(200_000) });
      expect([big.status, JSON.parse(big.text)]).toEqual([500, { error: 'File too large' }]);
      const proxied = await ask('/api/files', { method: 'POST', headers, body: file(200_000) });
      expect([proxied.status, last().body.equals(file(200_000))]).toEqual([200, true]);
    });

    test('bodies that the app parsed or validated are forwarded in their new form', async () => {
      const cookie = await signIn('alice');
      const post = (path: string, type: string, body: string) =>
        ask(path, { method: 'POST', headers: { cookie, 'content-type': type }, body });
      expect((await post('/api/orders', 'application/json', '{"item":"tea"}')).status).toBe(200);
      expect(JSON.parse(last().body.toString())).toEqual({ item: 'tea', quantity: 1 });
      const before = received.length;
      const bad = await post('/api/orders', 'application/json', '{"quantity":0}');
      expect([bad.status, JSON.parse(bad.text).error]).toEqual([400, expect.stringContaining('item')]);
      expect(received).toHaveLength(before);
      expect((await post('/api/form', 'application/x-www-form-urlencoded', 'a=1&b=%C3%A9')).status).toBe(200);
      expect(last().body.toString()).toBe('a=1&b=%C3%A9');
    });

    test.each([
      ['polling', ['polling']],
      ['polling and upgrade', ['polling', 'websocket']],
      ['WebSocket', ['websocket']],
    ])('socket.io by %s knows the user, on the same server', async (_transport, transports) => {
      const extraHeaders = { cookie: await signIn('bob') };
      const socket = installed('socket.io-client').io(`http://127.0.0.1:${port}`, {
        transports,
        extraHeaders,
        forceNew: true,
      });
      try {
        expect(await new Promise((resolve) => socket.emit('who am I', resolve))).toBe('bob');
        const wanted = transports.at(-1);
        await eventually(`it goes by ${wanted}`, () => socket.io.engine.transport.name === wanted);
        expect(await new Promise((resolve) => socket.emit('who am I', resolve))).toBe('bob');
      } finally {
        socket.disconnect();
      }
    });

    test('WebSockets under /api pass the middlewares and reach the backend', async () => {
      const url = `ws://127.0.0.1:${port}/api/live`;
      const socket = new WebSocket(url, { headers: { cookie: await signIn('carol'), 'x-user': 'mallory' } });
      const [message] = await once(socket, 'message');
      expect(String(message)).toBe('for carol');
      socket.terminate();
      const refused = new WebSocket(url);
      const [, res] = (await once(
        refused.on('error', () => {}),
        'unexpected-response',
      )) as [unknown, IncomingMessage];
      expect(res.statusCode).toBe(401);
      refused.terminate();
    });

    test('AsyncLocalStorage gives every callback the tenant of its own request', async () => {
      const users = await Promise.all(
        USERS.map(async (name) => {
          const agent = new Agent({ keepAlive: true, maxSockets: 1 });
          cleanup.add({ close: () => agent.destroy() });
          return { name, cookie: await signIn(name), agent };
        }),
      );
      const { tenants: before } = await seen();
      const rounds = 5;
      for (let round = 0; round < rounds; round += 1) {
        await Promise.all(
          users.map(({ name, cookie, agent }) => ask('/api/wait', { headers: { cookie, 'x-tenant': name }, agent })),
        );
      }
      const callbacks = ['forwarded', 'finish', 'close'];
      let during: Seen['tenants'] = [];
      await eventually('all callbacks were called', async () => {
        during = (await seen()).tenants.slice(before.length);
        return during.length === callbacks.length * rounds * USERS.length;
      });
      expect(during.filter(({ user, tenant }) => user !== tenant)).toEqual([]);
    });

    test('OpenTelemetry: a request is one trace, from the server down to the backend', async () => {
      const headers = { cookie: await signIn('alice') };
      await ask('/api/traced', { headers });
      const [, traceId, parentId] = String(last().req.headers.traceparent).split('-');
      expect(last().req.rawHeaders.filter((name) => name.toLowerCase() === 'traceparent')).toHaveLength(1);
      const ofTrace = async () => (await seen()).spans.filter((span) => span.traceId === traceId);
      let spans = await ofTrace();
      await eventually('its spans have ended', async () => {
        spans = await ofTrace();
        return spans.length === 3;
      });
      const [server, request, attempt] = [1, 0, 2].map((kind) => spans.find((span) => span.kind === kind));
      expect([server?.parent, request?.parent, attempt?.parent, parentId]).toEqual([
        undefined,
        server?.spanId,
        request?.spanId,
        attempt?.spanId,
      ]);
    });

    test("errors of the app reach its own handler; those of the backend are the suite's, and a cut response stays cut", async () => {
      const headers = { cookie: await signIn('alice') };
      const boom = await ask('/boom', { headers });
      expect([boom.status, JSON.parse(boom.text)]).toEqual([500, { error: 'the handler of /boom' }]);
      const reset = await ask('/api/reset', { headers });
      expect([reset.status, reset.headers['content-type']]).toEqual([502, 'application/problem+json']);
      for (const coding of ['identity', 'gzip']) {
        const asked = { headers: { ...headers, 'accept-encoding': coding } };
        await expect(ask('/api/cut', asked)).rejects.toThrow('aborted');
      }
      expect((await ask('/api/missing', { headers })).status).toBe(404);
    });

    test('in the end morgan, the access log and the metrics agree, and there is no warning', async () => {
      let told = await seen();
      const logged = () =>
        told.accessLog
          .map((line) => JSON.parse(line))
          .map(({ status, method, target }) => `${status} ${method} ${target}`)
          .sort();
      // morgan knows the status of a response, not whether it was cut, and none of a tunnel.
      const byMorgan = () =>
        told.morgan.map((line) => line.replace('200 GET /api/cut', '502 GET /api/cut').replace(/^-/, '101')).sort();
      await eventually('every request is over', async () => {
        told = await seen();
        return logged().includes('404 GET /api/missing') && logged().length === byMorgan().length;
      });
      expect(logged()).toEqual(byMorgan());
      const counted = [...told.metrics.matchAll(/^expressway_requests_total\{.*\} (\d+)$/gm)];
      expect(counted.reduce((sum, [, count]) => sum + Number(count), 0)).toBe(logged().length);
      expect(told.errors.map((text) => text.replace(/.*: /, ''))).toEqual([
        'File too large',
        expect.stringContaining('item'),
        'the handler of /boom',
      ]);
      expect(told.warnings).toEqual([]);
    });
  });
});
