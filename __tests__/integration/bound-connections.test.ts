import { createServer, type IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { afterEach, describe, expect, test } from '@jest/globals';
import express from 'express';
import { undiciTransport } from 'expressway';
import { createProxyMiddleware } from 'http-proxy-middleware';
import { Cleanup, proxyGateway } from '../support/gateway.ts';
import { RawClient } from '../support/raw-client.ts';
import { eventually, listen } from '../support/servers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

/** A backend that authenticates the connection, as IIS does: the response names the user of the connection. */
async function authenticating() {
  const users = new Map<Socket, string>();
  const challenged = new Set<Socket>();
  const running = cleanup.add(
    await listen(
      () => {},
      createServer((req: IncomingMessage, res) => {
        const { socket } = req;
        const [scheme = '', token] = req.headers.authorization?.split(' ') ?? [];
        if (token === 'one') challenged.add(socket);
        else if (scheme === 'NTLM' && challenged.delete(socket)) users.set(socket, token ?? '');
        else if (scheme.toLowerCase() === 'negotiate') users.set(socket, token ?? '');
        const user = users.get(socket);
        if (user === undefined) {
          const challenge = token === 'one' ? 'NTLM two' : ['Negotiate', 'NTLM'];
          res.writeHead(401, { 'WWW-Authenticate': challenge });
        }
        res.end(user ?? 'nobody');
      }),
    ),
  );
  running.server.on('connection', (socket: Socket) => {
    socket.on('close', () => users.delete(socket));
  });
  return { ...running, users };
}

type Backend = Awaited<ReturnType<typeof authenticating>>;

async function gatewayOf(transport: string, backends: readonly Backend[]): Promise<number> {
  if (transport === 'roundRobinProxy()') {
    return cleanup.add(await proxyGateway({ backends: backends.map(({ url }) => url) })).port;
  }
  const app = express();
  app.use(createProxyMiddleware({ target: (backends[0] as Backend).url, plugins: [undiciTransport()] }));
  return cleanup.add(await listen(app)).port;
}

async function clientOf(port: number) {
  const client = cleanup.add(await RawClient.connect(port));
  const ask = async (authorization?: string) => {
    const field = authorization === undefined ? '' : `Authorization: ${authorization}\r\n`;
    // Another header of that length decides nothing.
    client.send(`GET / HTTP/1.1\r\nHost: a\r\nX-Credentials: NTLM\r\n${field}\r\n`);
    const { status, content } = await client.response();
    return `${status} ${content}`;
  };
  const login = async (user: string) => [await ask(), await ask('NTLM one'), await ask(`NTLM ${user}`)];
  return { ask, login, close: () => client.close() };
}

const LOGIN = (user: string) => ['401 nobody', '401 nobody', `200 ${user}`];

describe.each(['roundRobinProxy()', 'undiciTransport()'])(
  'a connection that a backend has authenticated, %s',
  (transport) => {
    test('belongs to the client that authenticated, among interleaved and later clients', async () => {
      const backends = [await authenticating(), await authenticating(), await authenticating()];
      const port = await gatewayOf(transport, backends);
      const alice = await clientOf(port);
      const bob = await clientOf(port);
      expect(await alice.login('alice')).toEqual(LOGIN('alice'));
      expect(await bob.ask()).toBe('401 nobody');
      expect(await bob.login('bob')).toEqual(LOGIN('bob'));
      const late = await clientOf(port);
      for (let i = 0; i < 5; i += 1) {
        expect([await alice.ask(), await bob.ask(), await late.ask()]).toEqual(['200 alice', '200 bob', '401 nobody']);
      }
      expect(await Promise.all([alice.ask(), bob.ask(), late.ask()])).toEqual(['200 alice', '200 bob', '401 nobody']);
    });

    test.each([
      ['NTLM', 'one', 'carol'],
      ['Negotiate', 'carol'],
      ['negotiate', 'carol'],
    ])('ends with its client: %s', async (scheme, ...tokens) => {
      const backend = await authenticating();
      const port = await gatewayOf(transport, [backend]);
      const carol = await clientOf(port);
      // Credentials that come with the first request, too.
      for (const token of tokens) await carol.ask(`${scheme} ${token}`);
      expect([...backend.users.values()]).toEqual(['carol']);
      const stranger = await clientOf(port);
      expect(await stranger.ask()).toBe('401 nobody');
      carol.close();
      await eventually('the connection of the user is closed', () => backend.users.size === 0);
      expect(await stranger.ask()).toBe('401 nobody');
    });

    test('is gone when the backend closes it: its client authenticates again', async () => {
      const backend = await authenticating();
      const port = await gatewayOf(transport, [backend]);
      const alice = await clientOf(port);
      expect(await alice.login('alice')).toEqual(LOGIN('alice'));
      backend.server.closeAllConnections();
      await eventually('the connection is closed', () => backend.users.size === 0);
      expect(await alice.login('alice')).toEqual(LOGIN('alice'));
      expect(await alice.ask()).toBe('200 alice');
    });

    test('is given to no other client under concurrent requests', async () => {
      const backend = await authenticating();
      const port = await gatewayOf(transport, [backend]);
      const alice = await clientOf(port);
      await alice.login('alice');
      const many = await Promise.all(Array.from({ length: 10 }, () => clientOf(port)));
      const seen = await Promise.all([...many.map(({ ask }) => ask()), alice.ask()]);
      expect(seen).toEqual([...many.map(() => '401 nobody'), '200 alice']);
    });
  },
);

test('a connection over which a client authenticates its requests (Basic, Bearer) is shared', async () => {
  const connections = new Set<Socket>();
  const backend = cleanup.add(
    await listen((req, res) => {
      connections.add(req.socket);
      res.writeHead(req.headers.authorization === undefined ? 401 : 200, { 'WWW-Authenticate': 'Basic realm="NTLM"' });
      res.end();
    }),
  );
  const { port } = cleanup.add(await proxyGateway({ backends: [backend.url] }));
  for (const authorization of [undefined, 'Basic TlRMTQ==', 'Bearer Negotiate']) {
    const client = await clientOf(port);
    await client.ask(authorization);
    client.close();
  }
  expect(connections.size).toBe(1);
});
