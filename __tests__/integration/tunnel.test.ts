import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { Server as HttpServer, RequestListener } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import { createServer, type Server, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { connect as connectTls, createServer as createSecureServer } from 'node:tls';
import { afterEach, describe, expect, test } from '@jest/globals';
import { type RoundRobinProxyOptions, roundRobinProxy, type TunnelOptions } from 'expressway';
import { certificate } from '../support/certificate.ts';
import { Cleanup, proxyGateway } from '../support/gateway.ts';
import { afterRead, stays } from '../support/pause.ts';
import { type TextClient, WITH_TLS } from '../support/protocols.ts';
import { RawClient } from '../support/raw-client.ts';
import { answer, RecorderBackend, type Script } from '../support/recorder-backend.ts';
import { eventually, standsStill } from '../support/servers.ts';
import {
  onlyConnection,
  rawEcho,
  rawSilence,
  rawTunnel,
  SWITCHING,
  switchingFor,
  tunnelOver,
  upgradeRequest,
} from '../support/tunnels.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

/** A TCP server that does not close when the other side does. */
async function server(onSocket: (socket: Socket) => void, secure = false): Promise<{ url: string; server: Server }> {
  const sockets = new Set<Socket>();
  const accept = (socket: Socket): void => {
    sockets.add(socket);
    socket.on('error', () => {});
    onSocket(socket);
  };
  const options = { ...certificate, allowHalfOpen: true };
  const tcp = secure ? createSecureServer(options, accept) : createServer(options, accept);
  await new Promise<void>((resolve) => tcp.listen(0, '127.0.0.1', resolve));
  cleanup.add({
    close: () => {
      for (const socket of sockets) socket.destroy();
      tcp.close();
    },
  });
  return { url: `http://127.0.0.1:${(tcp.address() as { port: number }).port}`, server: tcp };
}

const flood = 64 * 1024 * 1024;
// The sockets of a loopback connection hold some megabytes.
const much = 32 * 1024 * 1024;

/** Writes for as long as it may, and says how much went. */
function pour(socket: Duplex): { readonly sent: number } {
  const state = { sent: 0 };
  const chunk = Buffer.alloc(256 * 1024, 'x');
  const more = (): void => {
    while (state.sent < flood) {
      state.sent += chunk.length;
      if (!socket.write(chunk)) return;
    }
  };
  socket.on('drain', more);
  more();
  return state;
}

test('R35: over TLS as well, a client that ends its side gets what the backend still sends', async () => {
  const backend = await server((socket) => {
    socket.once('data', (head) => socket.write(switchingFor(head)));
    socket.on('end', () => afterRead(() => socket.end('last words')));
  });
  const secure = (app: RequestListener) => createHttpsServer(certificate, app) as unknown as HttpServer;
  const { port } = cleanup.add(await proxyGateway({ backends: [backend.url] }, undefined, secure));
  const client = connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false, allowHalfOpen: true } as never);
  cleanup.add({ close: () => void client.destroy() });
  let text = '';
  client.setEncoding('latin1').on('data', (part: string) => {
    text += part;
  });
  client.write(upgradeRequest());
  await eventually('the tunnel is open', () => text.endsWith('\r\n\r\n'));
  client.end();
  await once(client, 'end');
  expect(text.slice(text.indexOf('\r\n\r\n') + 4)).toBe('last words');
});

describe.each(WITH_TLS)('over $name', (protocol) => {
  const gatewayTo = async (options: RoundRobinProxyOptions) =>
    cleanup.add(await proxyGateway(options, undefined, protocol.serverOf));
  const tunnelTo = async ({ port }: { port: number }) => cleanup.add(await tunnelOver(protocol, port));

  async function setup(script: Script, options: Partial<RoundRobinProxyOptions> = {}) {
    const backend = cleanup.add(await RecorderBackend.start(script));
    const gateway = await gatewayTo({ backends: [backend.url], ...options });
    const open = () => tunnelTo(gateway);
    return { backend, gateway, open };
  }

  describe('R35: when one side of a tunnel closes', () => {
    test('its data is flushed to the other side, which may still respond, and both are closed', async () => {
      const backend = await server((socket) => {
        let got = '';
        socket.once('data', (head) => socket.write(switchingFor(head)));
        socket.on('data', (chunk) => {
          got += chunk;
        });
        socket.on('end', () => socket.end(`you said ${got.split('\r\n\r\n')[1]}`));
      });
      const gateway = await gatewayTo({ backends: [backend.url] });
      const client = await tunnelTo(gateway);
      client.socket.end('my last words');
      await client.closed();
      expect([client.pending.toString(), client.closedBy]).toEqual(['you said my last words', 'FIN']);
      await eventually('nothing is left', () => gateway.proxy.status()[0]?.inFlight === 0);
    });

    test('the backend: a slow client gets all data, then the end', async () => {
      const content = randomBytes(8 * 1024 * 1024);
      const { gateway, backend, open } = await setup(rawSilence);
      const client = await open();
      client.socket.pause();
      const socket = onlyConnection(backend);
      socket.end(content);
      await standsStill('no more flows', () => socket.bytesWritten - socket.writableLength);
      client.socket.resume();
      await client.closed();
      expect(client.pending.equals(content)).toBe(true);
      client.socket.end();
      await eventually('nothing is left', () => gateway.proxy.status()[0]?.inFlight === 0);
    });

    const both = ['client', 'backend'].flatMap((first) => ['http', 'https'].map((scheme) => [first, scheme] as const));

    test.each(both)('the %s (%s), while data is in flight both ways: all data arrives', async (first, scheme) => {
      const [down, up] = [randomBytes(4 * 1024 * 1024), randomBytes(4 * 1024 * 1024)];
      let backendSide: Socket | undefined;
      let got = '';
      const backend = await server((socket) => {
        backendSide = socket;
        socket.setEncoding('latin1').on('data', (text: string) => {
          if (got === '') socket.write(switchingFor(text));
          got += text;
        });
      }, scheme === 'https');
      const tls = { rejectUnauthorized: false };
      const gateway = await gatewayTo({ backends: [`${scheme}${backend.url.slice(4)}`], tls });
      const client = await tunnelTo(gateway);
      const [one, other] = [client.socket, backendSide as Socket];
      one.write(up.subarray(0, 1e6));
      other.write(down.subarray(0, 1e6));
      // The end of one side is known to the other before that one sends the rest.
      if (first === 'client') {
        one.end(up.subarray(1e6)).resume();
        await once(other, 'end');
        other.end(down.subarray(1e6));
      } else {
        other.end(down.subarray(1e6));
        await once(one, 'end');
        one.end(up.subarray(1e6));
      }
      await client.closed();
      const all = up.toString('latin1');
      await eventually('the backend has it all', () => got.endsWith(all));
      expect(client.pending.equals(down)).toBe(true);
      await eventually('nothing is left', () => gateway.proxy.status()[0]?.inFlight === 0);
    });

    test('and the other stays silent, the tunnel is cut', async () => {
      const backend = await server((socket) => void socket.once('data', (head) => socket.write(switchingFor(head))));
      const options = { backends: [backend.url], tunnel: { closeTimeoutMs: 200 } };
      const gateway = await gatewayTo(options);
      const client = await tunnelTo(gateway);
      client.socket.end();
      await client.closed();
      await eventually('nothing is left', () => gateway.proxy.status()[0]?.inFlight === 0);
    });

    test.each(['client', 'backend'])('by a reset of the %s, the other side is reset', async (side) => {
      const { gateway, backend, open } = await setup(rawEcho);
      const client = await open();
      client.send('ping');
      await client.until((bytes) => bytes.includes('ping'));
      if (side === 'client') client.abort();
      else onlyConnection(backend).resetAndDestroy();
      await client.closed();
      client.socket.end();
      await eventually('both are gone', () => backend.connections.size === 0);
      await eventually('nothing is left', () => gateway.proxy.status()[0]?.inFlight === 0);
    });
  });

  describe('bytes in a tunnel', () => {
    test('many megabytes both ways at once arrive unchanged', async () => {
      const { client } = await plainTunnel((socket) => socket.pipe(socket));
      // What looks like HTTP, or like the end of a tunnel, is only bytes.
      const sent = createHash('sha256');
      const got = createHash('sha256');
      client.socket.removeAllListeners('data');
      const total = 24 * 1024 * 1024;
      let received = 0;
      const done = new Promise<void>((resolve) => {
        client.socket.on('data', (chunk) => {
          got.update(chunk);
          received += chunk.length;
          if (received >= total) resolve();
        });
      });
      for (let bytes = 0; bytes < total; ) {
        const noise = randomBytes(256 * 1024);
        noise.write('\r\n\r\nGET / HTTP/1.1\r\n\r\n0\r\n\r\n', 1_000);
        sent.update(noise);
        bytes += noise.length;
        if (!client.socket.write(noise)) await new Promise((resolve) => client.socket.once('drain', resolve));
      }
      await done;
      expect(received).toBe(total);
      expect(got.digest('hex')).toBe(sent.digest('hex'));
    });

    /** To a backend that reads nothing but the first request. */
    async function plainTunnel(upgraded: (socket: Socket) => void, tunnel: TunnelOptions = {}) {
      const backend = await server((socket) => {
        socket.once('data', (head) => {
          socket.pause();
          socket.write(switchingFor(head));
          upgraded(socket);
        });
      });
      const options = { backends: [backend.url], tunnel: { closeTimeoutMs: 200, ...tunnel } };
      const gateway = await gatewayTo(options);
      // First of all: a server waits for its upgraded connections, and one that is paused does not see its client go.
      cleanup.add(gateway.proxy);
      return { client: await tunnelTo(gateway), proxy: gateway.proxy };
    }

    test('a client that does not read pauses the backend', async () => {
      const sockets: Socket[] = [];
      const { client } = await plainTunnel((socket) => sockets.push(socket));
      client.socket.pause();
      const poured = pour(sockets[0] as Socket);
      expect(await standsStill('no more flows', () => poured.sent)).toBeLessThan(much);
    });

    test('a backend that does not read pauses the client', async () => {
      const { client } = await plainTunnel(() => {});
      const poured = pour(client.socket);
      expect(await standsStill('no more flows', () => poured.sent)).toBeLessThan(much);
    });

    test.each<[string, (client: TextClient) => unknown]>([
      ['stays', () => {}],
      ['closes', (client) => client.close()],
      ['resets', (client) => client.abort()],
    ])('a backend that reads nothing for sendTimeoutMs ends the tunnel of a client that %s', async (_how, act) => {
      const { client, proxy } = await plainTunnel(() => {}, { sendTimeoutMs: 500 });
      const poured = pour(client.socket);
      await standsStill('no more flows', () => poured.sent);
      act(client);
      await eventually('the tunnel ends', () => proxy.load().inFlight === 0);
    });

    test('a client that reads nothing for sendTimeoutMs ends its tunnel, also when the backend has left', async () => {
      let poured = { sent: 0 };
      const { client, proxy } = await plainTunnel(
        (socket) => {
          setTimeout(() => {
            poured = pour(socket);
            setTimeout(() => socket.resetAndDestroy(), 300);
          }, 50);
        },
        { sendTimeoutMs: 500 },
      );
      client.socket.pause();
      await eventually('the tunnel ends', () => poured.sent > 0 && proxy.load().inFlight === 0);
    });

    test('silence for sendTimeoutMs ends no tunnel after pauses, when nothing waits any more', async () => {
      let received = 0;
      const upgraded = (socket: Socket) => {
        socket.resume().on('data', (chunk) => {
          received += chunk.length;
        });
      };
      const { client, proxy } = await plainTunnel(upgraded, { sendTimeoutMs: 500 });
      const poured = pour(client.socket);
      await eventually('all of it is sent', () => poured.sent === flood && client.socket.writableLength === 0);
      await standsStill('all of it arrives', () => received);
      await stays('the tunnel is open', () => proxy.load().inFlight === 1, 1_000);
    });
  });

  describe('bounds of tunnels', () => {
    test('an idle tunnel is closed; one with occasional data is not, even with short response timeouts', async () => {
      const timeouts = { responseTimeoutMs: 500, idleTimeoutMs: 500 };
      const { backend, gateway, open } = await setup(rawEcho, { ...timeouts, tunnel: { idleTimeoutMs: 1_000 } });
      const idle = await open();
      const busy = await open();
      const timer = setInterval(() => busy.send('.'), 50);
      cleanup.add({ close: () => clearInterval(timer) });
      await idle.closed();
      expect([idle.closedBy, busy.closedBy]).toEqual(['FIN', undefined]);
      idle.socket.end();
      await eventually('only the other is left', () => backend.connections.size === 1);
      expect(gateway.proxy.status()[0]?.inFlight).toBe(1);
    });

    async function refusal(port: number) {
      const client = cleanup.add(await protocol.connect(port));
      client.send(upgradeRequest());
      const response = await client.response();
      // Closed by the gateway, whatever the client does.
      await client.closed();
      return { status: response.status, problem: JSON.parse(response.content.toString()), response };
    }

    test.each([
      ['in all: 503', { max: 2 }, 503, 'overloaded'],
      ['per client: 429', { maxPerClient: 2 }, 429, 'client_overload'],
    ])(
      'a maximum %s is enforced with a problem document; a freed place can be used again',
      async (_n, tunnel, status, cause) => {
        const { backend, gateway, open } = await setup(rawEcho, { tunnel });
        const first = await open();
        await open();
        const refused = await refusal(gateway.port);
        expect(refused).toMatchObject({ status, problem: { status, cause } });
        expect(refused.response.field('retry-after')).toBe('1');
        expect(refused.response.field('connection')).toBe(protocol.name !== 'HTTP/2' ? 'close' : undefined);
        // A refused one frees no place.
        expect((await refusal(gateway.port)).status).toBe(status);
        expect(backend.requests).toHaveLength(2);
        // Other requests do not count.
        backend.script = answer('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
        expect((await protocol.request(gateway.port, 'GET / HTTP/1.1\r\nHost: a\r\n\r\n')).status).toBe(200);
        backend.script = rawEcho;
        first.close();
        await eventually('its place is free', () => gateway.proxy.status()[0]?.inFlight === 1);
        await open();
      },
    );

    test('a refused handshake frees its place', async () => {
      const { backend, gateway, open } = await setup(answer('HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n'), {
        tunnel: { max: 1 },
      });
      for (let i = 0; i < 3; i += 1) {
        const client = cleanup.add(await protocol.connect(gateway.port));
        client.send(upgradeRequest());
        expect((await client.response()).status).toBe(403);
      }
      backend.script = rawEcho;
      await open();
    });

    test('invalid tunnel options throw at construction, all in one error', () => {
      const tunnel = { idleTimeoutMs: -1, max: 1.5, nope: 1 } as never;
      expect(() => roundRobinProxy({ backends: ['http://a'], tunnel })).toThrow(/nope.*idleTimeoutMs.*max/);
    });

    test('closing the proxy ends at once a tunnel whose backend has closed', async () => {
      const { backend, gateway, open } = await setup(rawSilence, { tunnel: { closeTimeoutMs: 3_600_000 } });
      const client = await open();
      onlyConnection(backend).end();
      await client.closed();
      await gateway.proxy.close();
      expect(gateway.proxy.status()).toEqual([]);
    });

    test('closing the proxy ends soon a tunnel whose client has left, and whose backend does not read', async () => {
      const tunnel = { closeTimeoutMs: 3_600_000, sendTimeoutMs: 0 };
      const { backend, gateway, open } = await setup(rawSilence, { tunnel });
      const client = await open();
      onlyConnection(backend).pause();
      const poured = pour(client.socket);
      await standsStill('no more flows', () => poured.sent);
      client.abort();
      await client.closed();
      await gateway.proxy.close();
      expect(gateway.proxy.status()).toEqual([]);
    });

    test('a client that leaves while its backend sends ends its tunnel, without closeTimeoutMs', async () => {
      const tunnel = { closeTimeoutMs: 3_600_000, sendTimeoutMs: 0 };
      const { backend, gateway, open } = await setup(rawSilence, { tunnel });
      const client = await open();
      client.socket.pause();
      const poured = pour(onlyConnection(backend));
      await standsStill('no more flows', () => poured.sent);
      client.abort();
      await eventually('the tunnel ends', () => gateway.proxy.load().inFlight === 0);
    });

    test('closing the proxy ends a tunnel whose handshake was still on its way, while another request still runs', async () => {
      const responses: (() => void)[] = [];
      const { backend, gateway } = await setup((socket, request) => {
        const respond = request.field('upgrade') === undefined ? answer('HTTP/1.1 204 No Content\r\n\r\n') : rawSilence;
        responses.push(() => respond(socket, request, 0));
      });
      const [other, client] = [
        cleanup.add(await protocol.connect(gateway.port)),
        cleanup.add(await protocol.connect(gateway.port)),
      ];
      other.send('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
      await eventually('the backend has it', () => backend.requests.length === 1);
      client.send(upgradeRequest());
      await eventually('the backend has both', () => backend.requests.length === 2);
      const closed = gateway.proxy.close();
      responses[1]?.();
      expect((await client.response()).status).toBe(101);
      await client.closed();
      responses[0]?.();
      expect((await other.response()).status).toBe(204);
      await closed;
    });

    test.each(['client', 'backend'])(
      'closing the proxy flushes and ends tunnels, also of a %s that does not read',
      async (side) => {
        const { backend, gateway, open } = await setup(rawSilence, { tunnel: { closeTimeoutMs: 300 } });
        const ends = [(await open()).socket, onlyConnection(backend)] as const;
        const [stuck, other] = side === 'client' ? ends : [ends[1], ends[0]];
        stuck.pause();
        const poured = pour(other);
        await standsStill('no more flows', () => poured.sent);
        const reader = await open();
        [...backend.connections].at(-1)?.write('the end');
        await reader.until((bytes) => bytes.includes('the end'));
        await gateway.proxy.close();
        expect(gateway.proxy.load().inFlight).toBe(0);
        await reader.closed();
        stuck.resume();
        await eventually('all are gone', () => backend.connections.size === 0);
        expect(gateway.proxy.status()).toEqual([]);
      },
    );
  });
});

test('bytes in memory for a client that does not read are sent to it after its tunnel was closed as idle', async () => {
  const backend = cleanup.add(await RecorderBackend.start(rawSilence));
  const tunnel = { idleTimeoutMs: 200, sendTimeoutMs: 0, closeTimeoutMs: 60_000 };
  const gateway = cleanup.add(await proxyGateway({ backends: [backend.url], tunnel }));
  const connections: Socket[] = [];
  gateway.server.on('connection', (socket) => connections.push(socket));
  const client = cleanup.add(await rawTunnel(gateway.port));
  client.socket.pause();
  pour(onlyConnection(backend));
  await eventually('the idle time is over', () => backend.connections.size === 0);
  const { writableLength, bytesWritten } = connections[0] as Socket;
  expect(writableLength).toBeGreaterThan(0);
  client.socket.resume();
  await client.closed();
  expect([client.socket.bytesRead, client.closedBy]).toEqual([bytesWritten, 'FIN']);
});

test('the head of the 101 has the bytes of the backend', async () => {
  const head = SWITCHING.replace(/\r\n$/, 'X-Name: caf\xe9\r\n\r\n');
  const backend = cleanup.add(await RecorderBackend.start((socket) => void socket.write(head, 'latin1')));
  const { port } = cleanup.add(await proxyGateway({ backends: [backend.url] }));
  const client = cleanup.add(await RawClient.connect(port));
  client.send(upgradeRequest());
  expect((await client.response()).field('x-name')).toBe('caf\xe9');
});
