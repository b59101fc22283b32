import { afterEach, describe, expect, test } from '@jest/globals';
import express from 'express';
import { circuitBreaker, ipRateLimit, roundRobinProxy, upgradeHandler } from 'expressway';
import { WebSocket, WebSocketServer } from 'ws';
import { Cleanup, proxyGateway } from '../support/gateway.ts';
import { PROTOCOLS } from '../support/protocols.ts';
import { RawClient } from '../support/raw-client.ts';
import { answer, RecorderBackend } from '../support/recorder-backend.ts';
import { closedPort, eventually, listen } from '../support/servers.ts';
import { rawSilence, upgradeRequest } from '../support/tunnels.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

/** A WebSocket backend that says its name first and then echoes. */
async function echoBackend(name: string) {
  const { server, url, close } = await listen((_req, res) => res.end(name));
  const sockets = new WebSocketServer({ server, handleProtocols: (protocols) => [...protocols][0] ?? false });
  sockets.on('connection', (socket) => {
    socket.send(`hello from ${name}`);
    socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }));
  });
  return cleanup.add({
    url,
    sockets,
    close() {
      for (const socket of sockets.clients) socket.terminate();
      return close();
    },
  });
}

/** Collects messages from before the first can arrive. */
async function open(url: string, protocols: string[] = []) {
  const socket = new WebSocket(url.replace('http', 'ws'), protocols);
  const messages: string[] = [];
  socket.on('message', (data) => messages.push(String(data)));
  await new Promise((resolve, reject) => {
    socket.once('open', resolve);
    socket.once('error', reject);
  });
  cleanup.add({ close: () => socket.terminate() });
  return { socket, messages };
}

describe('WebSocket', () => {
  test('the first request of a gateway may be an upgrade, and bytes pass both ways', async () => {
    const backend = await echoBackend('one');
    const gateway = cleanup.add(await proxyGateway({ backends: [backend.url] }));
    const forwarded: unknown[] = [];
    gateway.proxy.events.on('forwarded', ({ backend: one, outcome }) => forwarded.push([one, outcome]));
    const { socket, messages } = await open(gateway.url, ['chat']);
    expect(socket.protocol).toBe('chat');
    await eventually('the greeting', () => messages.includes('hello from one'));
    const long = 'x'.repeat(300_000);
    socket.send(long);
    await eventually('the echo', () => messages.includes(long));
    expect(gateway.proxy.status()[0]?.inFlight).toBe(1);
    socket.close();
    await eventually('the backend sees the end', () => backend.sockets.clients.size === 0);
    await eventually('nothing in flight', () => gateway.proxy.status()[0]?.inFlight === 0);
    expect(forwarded).toEqual([[backend.url, { kind: 'completed', status: 101 }]]);
  });

  test('W04: another protocol is not accepted: the request gets a response, and the connection closes', async () => {
    const backend = cleanup.add(await RecorderBackend.start());
    const gateway = cleanup.add(await proxyGateway({ backends: [backend.url] }));
    const client = cleanup.add(await RawClient.connect(gateway.port));
    client.send(
      'GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n',
    );
    const response = await client.response();
    expect([response.status, response.field('connection')]).toEqual([200, 'close']);
    await client.closed();
    expect(backend.requests[0]?.field('upgrade')).toBeUndefined();
  });
});

describe.each(PROTOCOLS)('WebSocket over $name', ({ serverOf, connect, request }) => {
  /** A WebSocket whose frames are read as they stand: over HTTP/2 the gateway replaces the key. */
  async function opened(port: number) {
    const client = cleanup.add(await connect(port));
    client.send(upgradeRequest(`Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${'A'.repeat(22)}==\r\n`));
    expect((await client.response()).status).toBe(101);
    return client;
  }

  test('upgrades rotate, and skip a backend that refuses', async () => {
    const [one, two] = [await echoBackend('one'), await echoBackend('two')];
    const dead = `http://127.0.0.1:${await closedPort()}`;
    const gateway = cleanup.add(await proxyGateway({ backends: [one.url, dead, two.url] }, undefined, serverOf));
    const greetings: string[] = [];
    for (let i = 0; i < 4; i += 1) {
      const client = await opened(gateway.port);
      await client.until((bytes) => bytes.includes('hello from'));
      greetings.push(client.pending.toString());
    }
    expect(greetings.filter((g) => g.endsWith('one')).length).toBeGreaterThan(0);
    expect(greetings.filter((g) => g.endsWith('two')).length).toBeGreaterThan(0);
    expect((await request(gateway.port, 'GET / HTTP/1.1\r\nHost: a\r\n\r\n')).status).toBe(200);
  });

  test('W01: limiter and circuit apply to upgrades, with real statuses', async () => {
    const backend = await echoBackend('one');
    const app = express();
    const breaker = circuitBreaker();
    const proxy = cleanup.add(roundRobinProxy({ backends: [backend.url] }));
    app.use(ipRateLimit({ limit: 2 }), breaker, proxy);
    const server = serverOf(app);
    server.on('upgrade', upgradeHandler(app));
    const gateway = cleanup.add(await listen(app, server));
    await opened(gateway.port);
    const isolation = breaker.isolate();
    expect((await request(gateway.port, upgradeRequest())).status).toBe(503);
    isolation.dispose();
    const limited = await request(gateway.port, upgradeRequest());
    expect(limited.status).toBe(429);
    expect(Number(limited.field('retry-after'))).toBeGreaterThan(0);
  });

  test('a refusal of the backend is forwarded unchanged; a dead backend gives 502', async () => {
    const refusing = cleanup.add(
      await RecorderBackend.start(answer('HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno')),
    );
    const gateway = cleanup.add(await proxyGateway({ backends: [refusing.url] }, undefined, serverOf));
    expect((await request(gateway.port, upgradeRequest())).status).toBe(403);
    expect(refusing.requests[0]?.field('upgrade')).toBe('websocket');
    const options = { backends: [`http://127.0.0.1:${await closedPort()}`] };
    const dead = cleanup.add(await proxyGateway(options, undefined, serverOf));
    expect((await request(dead.port, upgradeRequest())).status).toBe(502);
  });

  test('W02: the tunnel ends when the backend disconnects, and when the proxy closes', async () => {
    const backend = await echoBackend('one');
    const gateway = cleanup.add(await proxyGateway({ backends: [backend.url] }, undefined, serverOf));
    const first = await opened(gateway.port);
    for (const socket of backend.sockets.clients) socket.terminate();
    await first.closed();
    const second = await opened(gateway.port);
    await gateway.proxy.close();
    await second.closed();
  });

  test('bytes that the client sends right after its handshake are not lost', async () => {
    const backend = cleanup.add(
      await RecorderBackend.start((socket, request, index) => {
        rawSilence(socket, request, index);
        socket.write('first');
      }),
    );
    const gateway = cleanup.add(await proxyGateway({ backends: [backend.url] }, undefined, serverOf));
    const client = cleanup.add(await connect(gateway.port));
    client.send(`${upgradeRequest()}early bytes`);
    expect((await client.response()).status).toBe(101);
    await client.until((bytes) => bytes.includes('first'));
    await eventually('the early bytes arrive', () => backend.received[0]?.includes('early bytes'));
  });
});
