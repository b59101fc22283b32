import { once } from 'node:events';
import { Agent, createServer, type RequestListener, type Server } from 'node:http';
import { connect, type Socket } from 'node:net';
import { afterEach, describe, expect, test } from '@jest/globals';
import { Drain } from '../../example-gateway/drain.ts';
import { listen } from '../../example-gateway/listener.ts';
import { ask } from './ask.ts';
import { until } from './until.ts';

const PLENTY_MS = 15_000;

let server: Server;

async function serve(handler: RequestListener): Promise<{ drain: Drain; url: string; port: number }> {
  server = createServer();
  const drain = new Drain(server);
  server.on('request', handler);
  const url = await listen(server, 'server', { host: '127.0.0.1', port: 0 });
  return { drain, url, port: Number(new URL(url).port) };
}

/** A client that sees bytes. */
async function rawClient(port: number, bytes: string): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  await once(socket, 'connect');
  socket.write(bytes);
  return socket;
}

afterEach(() => {
  server.closeAllConnections();
});

describe('Drain', () => {
  test('closes idle connections at once and stops accepting', async () => {
    const { drain, url, port } = await serve((_, res) => res.end('ok'));
    const agent = new Agent({ keepAlive: true });
    const answer = await ask(url, { agent });
    expect(answer.headers.connection).toBe('keep-alive');
    const silent = await rawClient(port, '');
    silent.resume();
    const silentClosed = once(silent, 'close');

    expect(await drain.run(PLENTY_MS)).toBe(0);
    await silentClosed;
    await expect(ask(url)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    agent.destroy();
  });

  test('lets a running request end and announces the close', async () => {
    let finish = (): void => {};
    const { drain, url } = await serve((_, res) => {
      finish = () => res.end('done');
    });
    const started = once(server, 'request');
    const agent = new Agent({ keepAlive: true });
    const asked = ask(url, { agent });
    await started;
    const drained = drain.run(PLENTY_MS);
    finish();
    const answer = await asked;
    expect(answer).toMatchObject({ status: 200, text: 'done' });
    expect(answer.headers.connection).toBe('close');
    expect(await drained).toBe(0);
    agent.destroy();
  });

  test('closes a connection whose answer had promised to keep it, after that answer', async () => {
    let finish = (): void => {};
    const { drain, url } = await serve((_, res) => {
      res.write('one');
      finish = () => res.end(' two');
    });
    const started = once(server, 'request');
    const agent = new Agent({ keepAlive: true });
    const asked = ask(url, { agent });
    await started;
    const drained = drain.run(PLENTY_MS);
    finish();
    expect(await asked).toMatchObject({ text: 'one two', headers: { connection: 'keep-alive' } });
    expect(await drained).toBe(0);
    agent.destroy();
  });

  test('a slow reader gets the whole of an answer that has ended but is not yet written', async () => {
    const content = Buffer.alloc(32 * 1024 * 1024, 'x');
    const { drain, port } = await serve((_, res) => {
      res.writeHead(200, { 'Content-Length': content.length });
      res.end(content);
    });
    const started = once(server, 'request');
    const client = await rawClient(port, 'GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    client.pause();
    await started;
    const drained = drain.run(PLENTY_MS);
    await new Promise((resolve) => setImmediate(resolve));
    let received = 0;
    client.on('data', (chunk) => {
      received += chunk.length;
    });
    client.resume();
    await once(client, 'end');
    client.destroy();
    expect(received).toBeGreaterThan(content.length);
    expect(await drained).toBe(0);
  });

  test('cuts what is left when time is up, tunnels too, and counts it', async () => {
    const { drain, url, port } = await serve(() => {});
    server.on('upgrade', (_, socket) => {
      socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n');
      socket.pipe(socket);
    });
    const started = once(server, 'request');
    const asked = ask(url);
    const cut = expect(asked).rejects.toMatchObject({ code: 'ECONNRESET' });
    await started;
    const tunnel = await rawClient(port, 'GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n');
    let seen = '';
    tunnel.setEncoding('utf8').on('data', (text) => {
      seen += text;
    });
    await until(() => seen.includes('101'));

    const tunnelClosed = once(tunnel, 'close');
    const drained = drain.run(500);
    tunnel.write('still here');
    await until(() => seen.endsWith('still here'));
    expect(await drained).toBe(2);
    await Promise.all([cut, tunnelClosed]);
  });

  test('ends at once for a server that never listened', async () => {
    server = createServer();
    expect(await new Drain(server).run(PLENTY_MS)).toBe(0);
  });
});
