import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import { type ClientHttp2Stream, constants } from 'node:http2';
import { afterEach, describe, expect, test } from '@jest/globals';
import express from 'express';
import { http2Server } from 'expressway';
import { certificate } from '../support/certificate.ts';
import { Cleanup } from '../support/gateway.ts';
import { Http2Client, http2Gateway, http2ServerOf, responseTo } from '../support/http2.ts';
import {
  DATA,
  END_HEADERS,
  END_STREAM,
  type Field,
  FrameClient,
  frame,
  GET,
  headers,
  POST,
  RST_STREAM,
  SETTINGS,
  setting,
  uint32,
  WINDOW_UPDATE,
} from '../support/http2-frames.ts';
import { afterRead } from '../support/pause.ts';
import { answer, RecorderBackend, type Script } from '../support/recorder-backend.ts';
import { eventually, listen, standsStill } from '../support/servers.ts';
import { acceptOf } from '../support/tunnels.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const MIB = 1_048_576;

/** A backend that sends as much as it can, and says how much went out. */
async function endless(bytes: number) {
  const sent = { bytes: 0 };
  const chunk = Buffer.alloc(65_536, 'x');
  const server = createServer(({ method }, res) => {
    if (method === 'HEAD') {
      res.end();
      return;
    }
    res.setHeader('Content-Length', bytes);
    const more = (): void => {
      while (sent.bytes < bytes) {
        sent.bytes += chunk.length;
        if (!res.write(chunk)) {
          res.once('drain', more);
          return;
        }
      }
      res.end();
    };
    more();
  });
  return { sent, ...cleanup.add(await listen(() => {}, server)) };
}

describe('a response that ends before the request does', () => {
  test.each([
    ['a head alone', { 'Content-Length': 0, 'X-Head': 'whole' }, undefined],
    ['content', { 'X-Head': 'whole' }, undefined],
    ['content and trailers', { 'X-Head': 'whole', Trailer: 'x-sum' }, { 'x-sum': '1' }],
  ])('%s reaches the client whole', async (what, headers, trailers) => {
    const app = express();
    app.use((_req, res) => {
      res.writeHead(200, { ...headers, Connection: 'close' });
      if (what !== 'a head alone') res.write('early');
      if (trailers !== undefined) res.addTrailers(trailers);
      res.end();
    });
    const { port } = cleanup.add(await listen(app, http2ServerOf()(app)));
    const client = cleanup.add(new Http2Client(port));
    for (let i = 0; i < 5; i += 1) {
      const stream = client.open({ ':method': 'POST' }, false);
      stream.write('more is to come');
      const response = await responseTo(stream);
      expect(response).toMatchObject({ status: 200, headers: { 'x-head': 'whole' }, rstCode: 0 });
      expect(String(response.content)).toBe(what === 'a head alone' ? '' : 'early');
      expect(response.trailers).toEqual(trailers === undefined ? undefined : expect.objectContaining(trailers));
    }
  });
});

describe('a response that the app ends before its Content-Length', () => {
  test.each([
    ['in one piece', 5_000, 'one'],
    ['in two pieces', 5_000, 'two'],
    ['without content', 5_000, 'none'],
    ['in one piece, on a server that keeps no connection', 0, 'one'],
    ['in two pieces, on a server that keeps no connection', 0, 'two'],
    ['without content, on a server that keeps no connection', 0, 'none'],
  ])('%s is reset, and the next request of the connection is served', async (_title, keepAliveMs, pieces) => {
    const app = express();
    app.get('/whole', (_req, res) => void res.send('whole'));
    app.use((_req, res) => {
      res.writeHead(200, { 'Content-Length': 10 });
      if (pieces === 'none') res.flushHeaders();
      else res.write('abc');
      if (pieces === 'two') setImmediate(() => res.end('def'));
      else res.end();
    });
    const server = http2Server(app, { tls: certificate });
    server.keepAliveTimeout = keepAliveMs;
    const { port } = cleanup.add(await listen(() => {}, server));
    const client = cleanup.add(new Http2Client(port));
    for (const method of ['GET', 'POST']) {
      const { rstCode } = await client.request({ ':method': method }, method === 'POST' ? 'content' : undefined);
      expect(rstCode).toBe(constants.NGHTTP2_INTERNAL_ERROR);
      expect(String((await client.request({ ':path': '/whole' })).content)).toBe('whole');
    }
  });
});

describe('flow control', () => {
  test('a slow reader pauses the backend, and the other streams go on', async () => {
    const { sent, url } = await endless(64 * MIB);
    const gateway = cleanup.add(await http2Gateway({ backends: [url] }));
    const client = cleanup.add(new Http2Client(gateway.port));
    const stream = client.open({});
    await once(stream, 'response');
    stream.pause();
    // What the buffers of four sockets, two windows and three streams hold.
    expect(await standsStill('the backend stops sending', () => sent.bytes)).toBeLessThan(32 * MIB);
    expect((await client.request({ ':method': 'HEAD' })).status).toBe(200);
    let received = 0;
    stream.on('data', (chunk: Buffer) => {
      received += chunk.length;
    });
    stream.resume();
    await once(stream, 'close');
    expect([received, stream.rstCode]).toEqual([64 * MIB, 0]);
  });

  test('an upload waits for a backend that does not read', async () => {
    const backend = createServer();
    backend.on('request', (req, res) => {
      // Not read until the test says so.
      held = () => void req.on('end', () => res.end('done')).resume();
    });
    let held: (() => void) | undefined;
    const { url } = cleanup.add(await listen(() => {}, backend));
    const gateway = cleanup.add(await http2Gateway({ backends: [url], maxBodyBytes: 0 }));
    const client = cleanup.add(new Http2Client(gateway.port));
    const stream = client.open({ ':method': 'POST' }, false);
    let written = 0;
    const chunk = Buffer.alloc(65_536);
    const more = (): void => {
      while (written < 64 * MIB) {
        written += chunk.length;
        if (!stream.write(chunk)) {
          stream.once('drain', more);
          return;
        }
      }
      stream.end();
    };
    more();
    expect(await standsStill('the client stops sending', () => written)).toBeLessThan(32 * MIB);
    held?.();
    expect((await responseTo(stream)).content.toString()).toBe('done');
  });

  test('a client that takes nothing of its response is cut after sendTimeoutMs, and its backend is free', async () => {
    const { url } = await endless(8 * MIB);
    const gateway = cleanup.add(await http2Gateway({ backends: [url] }, { sendTimeoutMs: 500, checkIntervalMs: 50 }));
    const client = cleanup.add(await FrameClient.connect(gateway.port));
    // The window of 65,535 bytes is all that it gets.
    client.send(headers(1, GET));
    expect(await client.endOf(1)).toBe(`reset ${constants.NGHTTP2_INTERNAL_ERROR}`);
    await eventually('the backend is free', () => gateway.proxy.status()[0]?.inFlight === 0);
  });

  test('a client that leaves while its connection is full of a response frees the backend at once', async () => {
    const { url, sent } = await endless(256 * MIB);
    const gateway = cleanup.add(await http2Gateway({ backends: [url] }));
    const client = cleanup.add(await FrameClient.connect(gateway.port));
    const most = 2 ** 31 - 1;
    client.send(frame(SETTINGS, 0, 0, setting(4, most)), frame(WINDOW_UPDATE, 0, 0, uint32(most - 65_535)));
    client.socket.pause();
    client.send(headers(1, GET));
    expect(await standsStill('no more flows', () => sent.bytes)).toBeLessThan(256 * MIB);
    expect(gateway.proxy.status()[0]?.inFlight).toBe(1);
    // With bytes that it has not read, this is a reset.
    client.close();
    await eventually('the backend is free', () => gateway.proxy.status()[0]?.inFlight === 0);
  });

  test.each(['before the heads of responses', 'behind them'])(
    'a client that leaves keeps no resources in use, %s',
    async (moment) => {
      const { url } = cleanup.add(
        await RecorderBackend.start(answer(`HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc`)),
      );
      const gateway = cleanup.add(await http2Gateway({ backends: [url] }));
      let open = 0;
      gateway.server.on('request', (_req, res) => {
        open += 1;
        res.on('close', () => {
          open -= 1;
        });
      });
      for (const end of ['FIN', 'RST'] as const) {
        for (let round = 0; round < 10; round += 1) {
          const client = cleanup.add(await FrameClient.connect(gateway.port));
          // Content waits for a window.
          client.send(frame(4, 0, 0, Buffer.concat([Buffer.from([0, 4]), uint32(0)])));
          for (let stream = 1; stream < 20; stream += 2) client.send(headers(stream, GET));
          if (moment === 'behind them') await client.until(({ type, stream }) => type === 1 && stream === 19);
          else await client.settled();
          if (end === 'RST') client.close();
          else client.socket.end();
          await client.closed();
        }
      }
      await eventually('no response is open', () => open === 0);
      await eventually('nothing is in flight', () => gateway.proxy.status()[0]?.inFlight === 0);
    },
  );

  test('a small response that is not taken either', async () => {
    const gateway = cleanup.add(
      await http2Gateway(
        {
          backends: [
            cleanup.add(await RecorderBackend.start(answer(`HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc`))).url,
          ],
        },
        { sendTimeoutMs: 500, checkIntervalMs: 50 },
      ),
    );
    const client = cleanup.add(await FrameClient.connect(gateway.port));
    const none = Buffer.concat([Buffer.from([0, 4]), uint32(0)]);
    client.send(frame(4, 0, 0, none), headers(1, GET));
    expect(await client.endOf(1)).toBe(`reset ${constants.NGHTTP2_INTERNAL_ERROR}`);
  });

  test('a client that sends content too slowly gets 408', async () => {
    const backend = cleanup.add(await RecorderBackend.start(() => {}));
    const gateway = cleanup.add(
      await http2Gateway({ backends: [backend.url] }, { receiveGraceMs: 300, checkIntervalMs: 50 }),
    );
    const client = cleanup.add(new Http2Client(gateway.port));
    const stream = client.open({ ':method': 'POST' }, false);
    stream.write('a');
    expect((await responseTo(stream)).status).toBe(408);
  });
});

describe('an early response', () => {
  test('reaches the client, which need not send the rest', async () => {
    const gateway = cleanup.add(await http2Gateway({ backends: ['http://127.0.0.1:1'], maxBodyBytes: 10 }));
    const client = cleanup.add(await FrameClient.connect(gateway.port));
    client.send(headers(1, [...POST, ['content-length', '10000000']], END_HEADERS), frame(DATA, 0, 1, 'x'.repeat(100)));
    expect(await client.endOf(1)).toBe('ended');
    const reset = await client.until(({ type, stream }) => type === 3 && stream === 1);
    expect(reset?.payload.readUInt32BE()).toBe(constants.NGHTTP2_NO_ERROR);
    client.send(frame(WINDOW_UPDATE, 0, 0, uint32(1_000)));
    await client.settled();
    expect(client.isClosed).toBe(false);
  });

  const UPLOADS: readonly (readonly [string, readonly Field[]])[] = [
    ['of known length', [...POST, ['content-length', '10']]],
    ['of unknown length', POST],
  ];
  const plain = async (app: RequestListener) =>
    cleanup.add(await listen(() => {}, http2Server(app, { tls: certificate }))).port;

  test.each(UPLOADS)(
    'of a plain server ends the stream of a request %s whose content no one reads',
    async (_name, head) => {
      const port = await plain((req, res) => void res.end(req.url === '/' ? 'early' : undefined));
      const client = cleanup.add(await FrameClient.connect(port));
      for (const [stream, path] of [
        [1, '/'],
        [3, '/empty'],
      ] as const) {
        const fields = head.map(([name, value]): Field => [name, name === ':path' ? path : value]);
        client.send(headers(stream, fields, END_HEADERS), frame(DATA, 0, stream, 'half'));
        expect(await client.endOf(stream)).toBe('ended');
        const reset = await client.until((one) => one.type === RST_STREAM && one.stream === stream);
        expect(reset?.payload.readUInt32BE()).toBe(constants.NGHTTP2_NO_ERROR);
      }
      expect(client.isClosed).toBe(false);
    },
  );

  test.each(UPLOADS)('of an app that reads on gets all of a request %s', async (_name, head) => {
    let got = '';
    const port = await plain((req, res) => {
      req.on('data', (chunk) => {
        got += chunk;
      });
      req.on('end', () => {
        got += ', all';
      });
      res.end('early');
    });
    const client = cleanup.add(await FrameClient.connect(port));
    client.send(headers(1, head, END_HEADERS), frame(DATA, 0, 1, 'half,'));
    expect(await client.endOf(1)).toBe('ended');
    await client.settled();
    client.send(frame(DATA, END_STREAM, 1, ' rest'));
    await eventually('all is read', () => got === 'half, rest, all');
  });
});

describe('WebSockets over HTTP/2 (RFC 8441)', () => {
  const EXTENDED = { ':method': 'CONNECT', ':protocol': 'websocket', 'sec-websocket-version': '13' };

  /** Switches, and echoes what comes. */
  const echo: Script = (socket, request) => {
    const accept = acceptOf(request.field('sec-websocket-key') ?? '');
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\nSec-WebSocket-Protocol: chat\r\n\r\n`,
    );
    socket.on('data', (chunk) => socket.write(chunk));
  };

  async function tunnelled(script: Script) {
    const backend = cleanup.add(await RecorderBackend.start(script));
    const gateway = cleanup.add(await http2Gateway({ backends: [backend.url] }));
    const client = cleanup.add(new Http2Client(gateway.port));
    // The test app listens to upgrades from here on: only new connections know.
    await once(client.session, 'remoteSettings');
    return { backend, gateway, client };
  }

  async function opened(stream: ClientHttp2Stream): Promise<number> {
    const [fields] = await once(stream, 'response');
    return (fields as { ':status': number })[':status'];
  }

  test('are announced, pass both ways, and end in order', async () => {
    const { backend, gateway, client } = await tunnelled(echo);
    expect(client.session.remoteSettings.enableConnectProtocol).toBe(true);
    const stream = client.open(EXTENDED, false);
    const [fields] = await once(stream, 'response');
    expect(fields).toMatchObject({ ':status': 200, 'sec-websocket-protocol': 'chat' });
    expect(fields).not.toHaveProperty('sec-websocket-accept');
    expect(backend.requests[0]?.line).toBe('GET / HTTP/1.1');
    expect(backend.requests[0]?.field('sec-websocket-key')).toMatch(/^[\w+/]{22}==$/);
    stream.write('hello');
    expect(String((await once(stream, 'data'))[0])).toBe('hello');
    stream.end();
    stream.resume();
    await once(stream, 'close');
    expect(stream.rstCode).toBe(0);
    await eventually('nothing is left', () => gateway.proxy.status()[0]?.inFlight === 0);
  });

  test('a client that resets the stream closes the connection to the backend', async () => {
    const { backend, client } = await tunnelled(echo);
    const stream = client.open(EXTENDED, false);
    expect(await opened(stream)).toBe(200);
    stream.close(constants.NGHTTP2_CANCEL);
    await eventually('the backend sees it', () => backend.connections.size === 0);
  });

  test('one side may end before the other one', async () => {
    const { client, gateway } = await tunnelled((socket, request, index) => {
      socket.removeAllListeners('end');
      echo(socket, request, index);
      socket.on('end', () => {
        socket.write('late');
        afterRead(() => socket.end(' and last'));
      });
    });
    const stream = client.open(EXTENDED, false);
    expect(await opened(stream)).toBe(200);
    stream.end('first ');
    let text = '';
    for await (const chunk of stream) text += chunk;
    expect([text, stream.rstCode]).toEqual(['first late and last', 0]);
    await eventually('nothing is left', () => gateway.proxy.status()[0]?.inFlight === 0);
  });

  test('a backend that has ended its side still gets bytes of the client', async () => {
    let received = '';
    const { client, gateway } = await tunnelled((socket, request, index) => {
      socket.removeAllListeners('end');
      echo(socket, request, index);
      socket.removeAllListeners('data');
      socket.on('data', (chunk) => {
        received += chunk;
      });
      socket.end('bye');
    });
    const stream = client.open(EXTENDED, false);
    expect(await opened(stream)).toBe(200);
    let text = '';
    for await (const chunk of stream) text += chunk;
    expect(text).toBe('bye');
    stream.end('after that');
    await eventually('the backend has it', () => received.includes('after that'));
    await eventually('nothing is left', () => gateway.proxy.status()[0]?.inFlight === 0);
  });

  test('a backend that breaks off resets the stream or ends it', async () => {
    const { backend, client } = await tunnelled(echo);
    const stream = client.open(EXTENDED, false);
    expect(await opened(stream)).toBe(200);
    stream.resume();
    for (const socket of backend.connections) socket.resetAndDestroy();
    await once(stream, 'close');
  });

  test('a refusal is an ordinary response', async () => {
    const { client } = await tunnelled(answer('HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno'));
    const stream = client.open(EXTENDED, false);
    const response = responseTo(stream);
    stream.write('frames too early');
    expect(await response).toMatchObject({ status: 403, rstCode: 0 });
  });

  test('a backend that does not know the key is no WebSocket', async () => {
    const { client } = await tunnelled(
      answer(
        'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: AAAA\r\n\r\n',
      ),
    );
    const { status, rstCode } = await responseTo(client.open(EXTENDED, false));
    expect([status, rstCode]).toEqual([0, constants.NGHTTP2_INTERNAL_ERROR]);
  });
});

describe('connections', () => {
  test('one without a stream gets GOAWAY after keepAliveTimeoutMs', async () => {
    const app = express();
    app.get('/', (_req, res) => void res.send('ok'));
    const { port } = cleanup.add(await listen(app, http2ServerOf({ keepAliveTimeoutMs: 1_500 })(app)));
    const client = cleanup.add(new Http2Client(port));
    await client.request();
    await client.closed();
    expect(client.goaways[0]).toBe(constants.NGHTTP2_NO_ERROR);
  });

  test('one that never opens a stream ends after headTimeoutMs', async () => {
    const app = express();
    const { port } = cleanup.add(await listen(app, http2ServerOf({ headTimeoutMs: 1_500 })(app)));
    const client = cleanup.add(await FrameClient.connect(port, false));
    await client.closed();
  });

  test('after maxRequestsPerConnection requests it gets GOAWAY, and no request is lost', async () => {
    const app = express();
    app.get('/', (_req, res) => void res.send('ok'));
    const { port } = cleanup.add(await listen(app, http2ServerOf({ maxRequestsPerConnection: 20 })(app)));
    const client = cleanup.add(new Http2Client(port));
    const responses = await Promise.all(Array.from({ length: 40 }, () => client.request().catch(() => undefined)));
    expect(responses.map((one) => one?.status)).toEqual(Array(40).fill(200));
    expect(client.goaways[0]).toBe(constants.NGHTTP2_NO_ERROR);
  });

  test('a client that ignores maxConcurrentStreams loses the connection', async () => {
    const backend = cleanup.add(await RecorderBackend.start(() => {}));
    const gateway = cleanup.add(await http2Gateway({ backends: [backend.url] }));
    const client = cleanup.add(await FrameClient.connect(gateway.port));
    for (let stream = 1; stream < 200; stream += 2) client.send(headers(stream, GET));
    await eventually('a hundred run', () => backend.requests.length === 100);
    client.send(headers(201, GET));
    expect(await client.endOf(201)).toMatch(/^closed/);
    await eventually('the backend sees the end', () => backend.connections.size === 0);
  });
});
