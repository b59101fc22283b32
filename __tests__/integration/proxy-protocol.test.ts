import { once } from 'node:events';
import { createServer } from 'node:http';
import { connect as connectHttp2 } from 'node:http2';
import { createServer as createHttpsServer } from 'node:https';
import type { Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { afterEach, describe, expect, test } from '@jest/globals';
import express from 'express';
import {
  type ClientRefusedEvent,
  GatewayEvents,
  gracefulShutdown,
  hardenServer,
  http2Server,
  ipRateLimit,
  type ProxyProtocolOptions,
  proxyProtocol,
} from 'expressway';
import { certificate } from '../support/certificate.ts';
import { Cleanup } from '../support/gateway.ts';
import { v2Header } from '../support/proxy-headers.ts';
import { RawClient } from '../support/raw-client.ts';
import { eventually, listen } from '../support/servers.ts';
import { expectWarnings } from '../support/warnings.ts';

expectWarnings('WARN_EXPRESSWAY_LISTENER');

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const V1 = Buffer.from('PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\r\n');
const V2 = v2Header({ from: '203.0.113.7', to: '192.0.2.1', port: 56_324, more: Buffer.from([4, 0, 2, 0, 0]) });
const REQUEST = 'GET / HTTP/1.1\r\nHost: a.test\r\n\r\n';

const app = express().get('/', ({ socket }, res) => {
  res.json([socket.remoteAddress, socket.remotePort, socket.remoteFamily]);
});
const NAMED = ['203.0.113.7', 56_324, 'IPv4'];

const SERVERS = {
  plain: () => createServer(app),
  hardened: () => hardenServer(createServer(app)),
  TLS: () => createHttpsServer(certificate, app),
  'TLS and HTTP/2, hardened': () => hardenServer(http2Server(app, { tls: certificate })),
};

/** A server that trusts this machine, and what it refused. */
async function start(kind: keyof typeof SERVERS, options: Partial<ProxyProtocolOptions> = {}) {
  const events = new GatewayEvents();
  const refused: ClientRefusedEvent[] = [];
  events.on('clientRefused', (event) => refused.push(event));
  const server = SERVERS[kind]();
  proxyProtocol(server, { isTrusted: (address) => address === '127.0.0.1', events, ...options });
  const running = await listen(app, server);
  cleanup.add(running);
  return { port: running.port, refused, server };
}

async function clientOf(port: number): Promise<RawClient> {
  const client = await RawClient.connect(port);
  cleanup.add({ close: () => client.socket.destroy() });
  return client;
}

/** Sends bytes over a connection whose TLS begins behind the header, and gives the first response. */
async function overTls(socket: Socket): Promise<string> {
  const secured = connectTls({ socket, rejectUnauthorized: false });
  await once(secured, 'secureConnect');
  secured.write(REQUEST);
  let text = '';
  for await (const chunk of secured) {
    text += chunk;
    if (text.includes(']')) break;
  }
  return text;
}

describe('proxyProtocol()', () => {
  test.each(['plain', 'hardened'] as const)('%s: names the client, wherever the header is split', async (kind) => {
    const { port } = await start(kind);
    for (const header of [V1, V2]) {
      for (let at = 1; at <= header.length; at += 3) {
        const client = await clientOf(port);
        client.socket.setNoDelay();
        client.send(header.subarray(0, at));
        await new Promise((resolve) => setImmediate(resolve));
        client.send(Buffer.concat([header.subarray(at), Buffer.from(REQUEST)]));
        expect(JSON.parse((await client.response()).content.toString())).toEqual(NAMED);
        client.send(REQUEST);
        expect(JSON.parse((await client.response()).content.toString())).toEqual(NAMED);
        client.socket.destroy();
      }
    }
  });

  test.each(['plain', 'hardened'] as const)('%s: reads a large body behind the header', async (kind) => {
    const { port, server } = await start(kind);
    const received = new Promise<number>((resolve) => {
      server.prependOnceListener('request', (req) => {
        let bytes = 0;
        req.on('data', ({ length }: Buffer) => {
          bytes += length;
        });
        req.on('end', () => resolve(bytes));
      });
    });
    const client = await clientOf(port);
    const head = `POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 300000\r\n\r\n`;
    client.send(Buffer.concat([V2, Buffer.from(head), Buffer.alloc(300_000)]));
    expect(await received).toBe(300_000);
  });

  test.each(['TLS', 'TLS and HTTP/2, hardened'] as const)('%s: the header comes before the handshake', async (kind) => {
    const { port } = await start(kind);
    for (const header of [V1, V2]) {
      const { socket } = await clientOf(port);
      socket.removeAllListeners('data');
      socket.write(header);
      expect(await overTls(socket)).toContain(JSON.stringify(NAMED));
    }
  });

  test('HTTP/2: each stream has the address of the client', async () => {
    const { port } = await start('TLS and HTTP/2, hardened');
    const { socket } = await clientOf(port);
    socket.removeAllListeners('data');
    socket.write(V2);
    const session = connectHttp2('https://localhost', {
      createConnection: () => connectTls({ socket, ALPNProtocols: ['h2'], rejectUnauthorized: false }),
    });
    for (let stream = 0; stream < 2; stream += 1) {
      const parts: Buffer[] = [];
      for await (const part of session.request({ ':path': '/' })) parts.push(part);
      expect(JSON.parse(Buffer.concat(parts).toString())).toEqual(NAMED);
    }
    session.destroy();
  });

  test.each([
    ['UNKNOWN', Buffer.from('PROXY UNKNOWN\r\n')],
    ['LOCAL', v2Header({ command: 0x20, family: 0 })],
    ['UNSPEC', v2Header({ family: 0 })],
  ])('%s leaves the address of the peer', async (_name, header) => {
    const { port } = await start('hardened');
    const client = await clientOf(port);
    client.send(Buffer.concat([header, Buffer.from(REQUEST)]));
    expect(JSON.parse((await client.response()).content.toString())[0]).toBe('127.0.0.1');
  });

  test.each(['plain', 'TLS and HTTP/2, hardened'] as const)(
    '%s: a trusted peer without a valid header loses its connection',
    async (kind) => {
      const { port, refused } = await start(kind);
      const bad = [REQUEST, '\x16\x03\x01\x02\x00\x01', 'PROXY TCP4 nonsense\r\n', 'PROXY UNKNOWN '.padEnd(600, 'x')];
      for (const bytes of bad) {
        const client = await clientOf(port);
        client.send(bytes);
        await client.closed();
        expect(client.pending).toHaveLength(0);
      }
      expect(refused.map(({ cause, address }) => [cause, address])).toEqual(
        bad.map(() => ['bad_request', '127.0.0.1']),
      );
    },
  );

  test('a header that does not come in time, or not whole, ends the connection', async () => {
    const hasty = await start('hardened', { headerTimeoutMs: 50 });
    const slow = await clientOf(hasty.port);
    slow.send(V1.subarray(0, 10));
    await slow.closed();
    expect(hasty.refused).toMatchObject([{ cause: 'client_timeout' }]);
    const { port, refused } = await start('hardened', { headerTimeoutMs: 60_000 });
    const short = await clientOf(port);
    short.socket.end(V1.subarray(0, 10));
    await short.closed();
    // A health check that only connects.
    const silent = await clientOf(port);
    silent.socket.end();
    await silent.closed();
    expect(refused).toMatchObject([{ cause: 'bad_request' }]);
  });

  test('a header from any other peer is a bad request, as without this', async () => {
    const { port } = await start('hardened', { isTrusted: () => false });
    const [plain, claims] = [await clientOf(port), await clientOf(port)];
    plain.send(REQUEST);
    expect(JSON.parse((await plain.response()).content.toString())[0]).toBe('127.0.0.1');
    claims.send(Buffer.concat([V1, Buffer.from(REQUEST)]));
    expect((await claims.response()).status).toBe(400);
  });

  test.each([
    ['address', 'TCP4', ['203.0.113.1', '203.0.113.2', '203.0.113.1'], '192.0.2.1'],
    ['IPv6 network', 'TCP6', ['2001:db8::1', '2001:db8:0:100::1', '2001:db8:0:ff::2'], '2001:db8:9::1'],
  ])('limits go by the %s of the client: connections, and requests', async (_title, family, clients, own) => {
    const limiter = ipRateLimit({ limit: 1 });
    cleanup.add(limiter);
    const limited = express().use(limiter, app);
    const server = proxyProtocol(hardenServer(createServer(limited), { maxConnectionsPerAddress: 2 }), {
      isTrusted: () => true,
    });
    const running = await listen(limited, server);
    cleanup.add(running);
    const ask = async (from: string) => {
      const client = await clientOf(running.port);
      client.send(`PROXY ${family} ${from} ${own} 1 2\r\n${REQUEST}`);
      return client;
    };
    const statuses = [];
    for (const from of clients) statuses.push((await (await ask(from)).response()).status);
    expect(statuses).toEqual([200, 200, 429]);
    const third = await ask(clients[0] as string);
    await third.closed();
    expect(third.pending).toHaveLength(0);
  });

  test('a shutdown waits for requests behind a header, and not for connections without one', async () => {
    const events = new GatewayEvents();
    const slow = express();
    const started = new Promise<() => void>((resolve) => {
      slow.get('/', (_req, res) => resolve(() => res.send('done')));
    });
    const server = proxyProtocol(createServer(slow), { isTrusted: () => true, headerTimeoutMs: 2_000, events });
    const shutdown = gracefulShutdown(server, { signals: [] });
    const { port } = await listen(slow, server);
    const [busy, silent] = [await clientOf(port), await clientOf(port)];
    busy.send(Buffer.concat([V1, Buffer.from(REQUEST)]));
    const finish = await started;
    const closing = shutdown.close();
    await silent.closed();
    finish();
    expect((await busy.response()).content.toString()).toBe('done');
    await closing;
  });

  test('closeAllConnections() closes those that have sent no header yet', async () => {
    const { port, server } = await start('plain');
    const client = await clientOf(port);
    await eventually('it is accepted', async () => {
      const { promise, resolve } = Promise.withResolvers<number>();
      server.getConnections((_error, count) => resolve(count));
      return (await promise) === 1;
    });
    server.closeAllConnections();
    await client.closed();
  });
});

test.each<[string, () => never]>([
  [
    'throws',
    () => {
      throw undefined;
    },
  ],
  ['is async', () => Promise.resolve(true) as never],
  ['is async and rejects', () => Promise.reject() as never],
])('an isTrusted that %s trusts no peer, and the process goes on', async (_what, isTrusted) => {
  const { port } = await start('plain', { isTrusted });
  const forged = await clientOf(port);
  forged.send(V1);
  forged.send(REQUEST);
  expect((await forged.response()).status).toBe(400);
  const client = await clientOf(port);
  client.send(REQUEST);
  expect(JSON.parse((await client.response()).content.toString())[0]).toBe('127.0.0.1');
});
