import { afterEach, describe, expect, test } from '@jest/globals';
import { Backend } from '../../lib/backends/backend.ts';
import type { ProbeAnswer } from '../../lib/backends/health/health-check.ts';
import { Circuit, circuitDefaults } from '../../lib/circuit-breaker/circuit.ts';
import { connectionProbe, healthProbe } from '../../lib/proxy/transport/health-probe.ts';
import { certificate } from '../support/certificate.ts';
import { Cleanup } from '../support/gateway.ts';
import { Http2Backend, type OnStream, respondWithStatus, respondWithTrailers } from '../support/http2-backend.ts';
import { answer, RecorderBackend, type Script } from '../support/recorder-backend.ts';
import { closedPort, eventually } from '../support/servers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

function probe(url: string, abort = new AbortController(), timeoutMs = 5_000): Promise<ProbeAnswer | Error> {
  return healthProbe()(backendAt(url), { path: '/healthz?full=1', headers: {}, timeoutMs, signal: abort.signal });
}

const GRPC_CHECK = '/grpc.health.v1.Health/Check';

/** Checks a backend over HTTP/2, by the protocol of gRPC unless there is another path. */
function http2Probe(
  url: string,
  abort = new AbortController(),
  path = GRPC_CHECK,
  headers = {},
): Promise<ProbeAnswer | Error> {
  return healthProbe({}, 'http2')(backendAt(url), { path, headers, timeoutMs: 5_000, signal: abort.signal });
}

function backendAt(url: string): Backend {
  return new Backend({ url: new URL(url), weight: 1 }, new Circuit(url, circuitDefaults));
}

const recorder = async (script: Script) => cleanup.add(await RecorderBackend.start(script));

describe('a health check request', () => {
  test('gives status and content, and closes its connection', async () => {
    const backend = await recorder(answer('HTTP/1.1 503 Busy\r\nContent-Length: 5\r\n\r\nbusy!'));
    expect(await probe(backend.url)).toEqual({ status: 503, content: 'busy!' });
    const [request] = backend.requests;
    expect(request?.line).toBe('GET /healthz?full=1 HTTP/1.1');
    expect(request?.field('connection')).toBe('close');
    expect(request?.field('user-agent')).toBe('expressway-health-check');
    expect(request?.all('host')).toEqual([`127.0.0.1:${backend.port}`]);
    await eventually('the connection is closed', () => backend.connections.size === 0);
  });

  test('does not follow a redirect', async () => {
    const backend = await recorder(answer('HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n'));
    expect(await probe(backend.url)).toEqual({ status: 302, content: '' });
    expect(backend.requests).toHaveLength(1);
  });

  test('reads at most 64 KiB of endless content, and closes the connection', async () => {
    const backend = await recorder((socket) => {
      socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n');
      const more = (): void => {
        if (!socket.destroyed) socket.write(`4000\r\n${'x'.repeat(16_384)}\r\n`, () => setTimeout(more, 1));
      };
      more();
    });
    expect(await probe(backend.url)).toEqual({ status: 200, content: 'x'.repeat(65_536) });
    await eventually('the connection is closed', () => backend.connections.size === 0);
  });

  const broken: readonly (readonly [string, Script, RegExp])[] = [
    ['an answer that is none', answer('SSH-2.0-OpenSSH_9.9\r\n'), /./],
    ['a connection closed before the head', (socket) => void socket.end(), /other side closed/],
    ['content cut off', (socket) => void socket.end('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf'), /./],
    ['a reset', (socket) => void socket.resetAndDestroy(), /ECONNRESET/],
  ];
  test.each(broken)('gives %s as an error value', async (_name, script, message) => {
    const backend = await recorder(script);
    const result = await probe(backend.url);
    expect((result as Error).message).toMatch(message);
  });

  test('gives a refused connection as an error value', async () => {
    expect(await probe(`http://127.0.0.1:${await closedPort()}`)).toMatchObject({ code: 'ECONNREFUSED' });
  });

  const hanging: readonly (readonly [string, Script])[] = [
    ['for the head', () => {}],
    ['for the content', answer('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf')],
  ];
  test.each(hanging)('ends at once when it is aborted while it waits %s', async (_name, script) => {
    const backend = await recorder(script);
    const abort = new AbortController();
    const result = probe(backend.url, abort);
    await eventually('it waits', () => backend.requests.length === 1);
    abort.abort(new Error('late'));
    expect(await result).toMatchObject({ message: 'late' });
    await eventually('the connection is closed', () => backend.connections.size === 0);
  });

  test('ends at once when it is aborted while it waits for the response', async () => {
    const backend = await recorder(() => {});
    const abort = new AbortController();
    const probing = probe(backend.url, abort);
    await eventually('the backend has the request', () => backend.requests.length === 1);
    abort.abort();
    expect(await probing).toBe(abort.signal.reason);
    await eventually('the connection is closed', () => backend.connections.size === 0);
  });

  test('ends at once when it is aborted while it connects, and closes the socket soon after', async () => {
    // Nobody answers the handshake, which is part of connecting.
    const backend = await recorder(() => {});
    const abort = new AbortController();
    const result = probe(backend.url.replace('http:', 'https:'), abort, 300);
    await eventually('it connects', () => backend.connections.size === 1);
    abort.abort(new Error('late'));
    expect(await result).toMatchObject({ message: 'late' });
    await eventually('the connection is closed', () => backend.connections.size === 0);
  });
});

test('a health check over HTTP/2 reads at most 64 KiB of endless content', async () => {
  const { url } = cleanup.add(
    await Http2Backend.start((stream) => {
      stream.respond({ ':status': 200 });
      const more = () => !stream.destroyed && stream.write('x'.repeat(16_384), more);
      more();
    }),
  );
  expect(await http2Probe(url, undefined, '/healthz')).toEqual({ status: 200, content: 'x'.repeat(65_536) });
});

test('a health check over HTTP/2 sends the headers of the option', async () => {
  let seen: object | undefined;
  const { url } = cleanup.add(
    await Http2Backend.start((stream, { ':authority': authority, 'x-check': check, 'content-type': type }) => {
      seen = { authority, check, type };
      respondWithStatus(stream, '0');
    }),
  );
  await http2Probe(url, undefined, '/healthz', { Host: 'users.internal', 'X-Check': 'yes' });
  // A check that is no call of gRPC has no content, and says so.
  expect(seen).toEqual({ authority: 'users.internal', check: 'yes', type: undefined });
});

describe('a health check of gRPC', () => {
  const saying =
    (serving: number, status?: string): OnStream =>
    (stream) =>
      respondWithTrailers(stream, Buffer.from([0, 0, 0, 0, 2, 8, serving]), status);

  test('is a call about the server as a whole, and passes if that serves', async () => {
    let seen: object | undefined;
    const { url, port } = cleanup.add(
      await Http2Backend.start((stream, headers) => {
        stream.on('data', (content: Buffer) => {
          const { ':method': method, ':authority': authority, 'content-type': type } = headers;
          seen = { method, authority, type, content: [...content] };
          saying(1)(stream, headers);
        });
      }),
    );
    expect(await http2Probe(url)).toMatchObject({ status: 200 });
    const authority = `127.0.0.1:${port}`;
    expect(seen).toEqual({ method: 'POST', authority, type: 'application/grpc', content: [0, 0, 0, 0, 0] });
  });

  test.each<[string, OnStream, RegExp]>([
    ['a server that does not serve', saying(2), /says that the server does not serve/],
    ['an error after its content', saying(1, '14'), /got status 200 and the gRPC status 14$/],
    ['an error alone', (stream) => respondWithStatus(stream, '12'), /got status 200 and the gRPC status 12$/],
    ['a response that is not of gRPC', (stream) => stream.respond({}, { endStream: true }), /the gRPC status none$/],
    ['a reset', (stream) => stream.close(2), /NGHTTP2_INTERNAL_ERROR$/],
  ])('gives %s as an error value', async (_name, onStream, message) => {
    const { url } = cleanup.add(await Http2Backend.start(onStream));
    expect(((await http2Probe(url)) as Error).message).toMatch(message);
  });

  test('gives a refused connection as an error value', async () => {
    expect(await http2Probe(`http://127.0.0.1:${await closedPort()}`)).toMatchObject({ code: 'ECONNREFUSED' });
  });

  test('ends at once when it is aborted, and closes the connection', async () => {
    const { url, sessions } = cleanup.add(await Http2Backend.start(() => abort.abort(new Error('late'))));
    const abort = new AbortController();
    expect(await http2Probe(url, abort)).toMatchObject({ message: 'late' });
    await eventually('the connection is closed', () => sessions[0]?.destroyed);
  });
});

describe('an attempt to connect to a backend over HTTP/2 and TLS', () => {
  const ca = certificate.cert;

  test.each([
    ['succeeds', { ca }, 'http2' as const, undefined],
    ['fails without its authority', {}, 'http2' as const, 'tls_certificate_error'],
    ['fails for another name', { ca, serverName: 'other.test' }, 'http2' as const, 'tls_certificate_error'],
    ['fails over HTTP/1.1', { ca }, 'http1' as const, 'tls_protocol_error'],
  ])('%s', async (_name, tls, protocol, cause) => {
    const { url } = cleanup.add(await Http2Backend.start(() => {}, { secure: true }));
    expect(await connectionProbe(tls, 30_000, protocol)(backendAt(url))).toBe(cause);
  });

  test('fails when its time is over', async () => {
    const { url } = await recorder(() => {});
    const start = performance.now();
    const attempt = connectionProbe({ ca }, 100, 'http2')(backendAt(url.replace('http:', 'https:')));
    expect(await attempt).toBe('connection_timeout');
    // undici's own limit is 10 s.
    expect(performance.now() - start).toBeLessThan(9_000);
  });
});
