import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, connect as connectTo, createServer, type Socket } from 'node:net';
import { PassThrough } from 'node:stream';
import { promisify } from 'node:util';
import { afterEach, describe, expect, test } from '@jest/globals';
import { buildConnector, Client, type Dispatcher, errors, Pool } from 'undici';
import * as ownFiles from '../../lib/proxy/transport/undici.ts';
import { Cleanup } from '../support/gateway.ts';
import { afterRead, stays } from '../support/pause.ts';
import { answer, answerOk, RecorderBackend, type Script } from '../support/recorder-backend.ts';
import { closedPort, eventually } from '../support/servers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const runNode = async (program: string) => (await promisify(execFile)(process.execPath, ['-e', program])).stdout.trim();

type Step = [string, ...unknown[]];

/** Dispatches one request and tells what the handler was told, in order. */
async function dispatch(
  script: Script | number,
  options: Partial<Dispatcher.DispatchOptions> = {},
): Promise<{ steps: Step[]; backend: RecorderBackend | undefined }> {
  const backend = typeof script === 'number' ? undefined : cleanup.add(await RecorderBackend.start(script));
  const pool = new Pool(backend?.url ?? `http://127.0.0.1:${script}`, { connectTimeout: 300, allowH2: false });
  cleanup.add({ close: () => pool.destroy() });
  const steps: Step[] = [];
  await new Promise<void>((resolve) => {
    pool.dispatch(
      { path: '/', method: 'GET', ...options },
      {
        onRequestStart: () => void steps.push(['start']),
        onResponseStart: (controller, status, headers) => {
          steps.push(['head', status, headers, Array.isArray(controller.rawHeaders)]);
        },
        onResponseData: (_controller, chunk) => void steps.push(['data', chunk.toString()]),
        onRequestUpgrade: (_controller, status, _headers, socket) => {
          steps.push(['upgrade', status]);
          socket.destroy();
          resolve();
        },
        onResponseEnd: () => {
          steps.push(['end']);
          resolve();
        },
        onResponseError: (_controller, error) => {
          steps.push(['error', (error as NodeJS.ErrnoException).code, error.name]);
          resolve();
        },
      },
    );
  });
  return { steps, backend };
}

/** What lib/proxy relies on, or works around, in undici 8. */
describe('undici', () => {
  test('the files that lib/proxy/transport/undici.ts loads are those of the package', () => {
    expect(ownFiles.buildConnector).toBe(buildConnector);
    expect(ownFiles.Client).toBe(Client);
    expect(ownFiles.errors).toBe(errors);
  });

  test('loading all of undici replaces the agent of fetch(); the files that we load do not', async () => {
    const symbols = (load: string) =>
      runNode(
        `${load}; console.log(Object.getOwnPropertySymbols(globalThis).some((s) => /undici/.test(s.description)))`,
      );
    expect(await symbols("require('undici')")).toBe('true');
    expect(
      await symbols(
        "for (const f of ['api/api-request', 'core/connect', 'core/errors', 'dispatcher/client']) require('undici/lib/' + f + '.js')",
      ),
    ).toBe('false');
  });

  test('a refused connection is reported before onRequestStart: nothing was sent', async () => {
    const { steps } = await dispatch(await closedPort());
    expect(steps).toEqual([['error', 'ECONNREFUSED', 'Error']]);
  });

  test('a small response arrives as head, data and end, with names in lower case and repeats as arrays', async () => {
    const { steps } = await dispatch(
      answer('HTTP/1.1 200 OK\r\nX-A: 1\r\nSet-Cookie: a\r\nset-cookie: b\r\nContent-Length: 2\r\n\r\nok'),
    );
    const headers = { 'x-a': '1', 'set-cookie': ['a', 'b'], 'content-length': '2' };
    expect(steps).toEqual([['start'], ['head', 200, headers, true], ['data', 'ok'], ['end']]);
  });

  test('1xx heads come through onResponseStart', async () => {
    const { steps } = await dispatch(
      answer('HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'),
    );
    expect(steps.map(([step, status]) => [step, status]).slice(1, 3)).toEqual([
      ['head', 103],
      ['head', 200],
    ]);
  });

  test.each([
    ['expect', '100-continue'],
    ['transfer-encoding', 'chunked'],
    ['keep-alive', '1'],
    ['upgrade', 'x'],
  ])('the field %s is refused before anything is sent', async (name, value) => {
    const { steps } = await dispatch(answerOk, { headers: [name, value] });
    expect(steps).toEqual([
      ['error', name === 'expect' ? 'UND_ERR_NOT_SUPPORTED' : 'UND_ERR_INVALID_ARG', expect.any(String)],
    ]);
  });

  test.each<[string, Script, string | undefined, string]>([
    ['a reset', (socket) => void socket.resetAndDestroy(), 'ECONNRESET', 'Error'],
    ['an end', (socket) => void socket.end(), 'UND_ERR_SOCKET', 'SocketError'],
    ['nonsense', answer('SSH\r\n\r\n'), undefined, 'HTTPParserError'],
    [
      'length and chunked at once',
      answer('HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n'),
      'UND_ERR_RES_CONTENT_LENGTH_MISMATCH',
      'ResponseContentLengthMismatchError',
    ],
  ])('%s instead of a head is an error of its own', async (_name, script, code, name) => {
    const { steps } = await dispatch(script);
    expect(steps.at(-1)).toEqual(['error', code, name]);
  });

  test('content that ends before its framing says so is an error, also with Connection: close', async () => {
    for (const head of [
      'Content-Length: 9',
      'Transfer-Encoding: chunked',
      'Connection: close\r\nTransfer-Encoding: chunked',
    ]) {
      const { steps } = await dispatch((socket) => void socket.end(`HTTP/1.1 200 OK\r\n${head}\r\n\r\n4\r\nhalf`));
      expect(steps.at(-1)?.[0]).toBe('error');
    }
  });

  test('an upgrade returns the socket, with the configured protocol name', async () => {
    const { steps, backend } = await dispatch(
      answer('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n'),
      { upgrade: 'websocket' },
    );
    expect(steps).toEqual([['start'], ['upgrade', 101]]);
    expect(backend?.requests[0]?.field('upgrade')).toBe('websocket');
  });

  test('an array of raw headers can be emptied without loss of the parsed headers', async () => {
    const backend = cleanup.add(
      await RecorderBackend.start(answer('HTTP/1.1 200 OK\r\nX-A: 1\r\nContent-Length: 2\r\n\r\nok')),
    );
    const pool = new Pool(backend.url, { allowH2: false });
    const seen: unknown[] = [];
    await new Promise<void>((resolve, reject) => {
      pool.dispatch(
        { path: '/', method: 'GET' },
        {
          onRequestStart: () => {},
          onResponseStart(controller, _status, fields) {
            seen.push(Array.isArray(controller.rawHeaders));
            (controller.rawHeaders as Buffer[]).length = 0;
            seen.push(fields['x-a']);
          },
          onResponseData: (_controller, chunk) => void seen.push(String(chunk)),
          onResponseEnd: () => resolve(),
          onResponseError: (_controller, error) => reject(error),
        },
      );
    });
    await pool.close();
    expect(seen).toEqual([true, '1', 'ok']);
  });

  test('a HEAD request closes its connection', async () => {
    const { backend } = await dispatch(answer('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n'), { method: 'HEAD' });
    expect(backend?.requests[0]?.field('connection')).toBe('close');
  });

  test('100 and 101 that were not asked for are errors of the connection', async () => {
    const rest = 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n';
    for (const head of ['100 Continue\r\n', '101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n']) {
      const { steps } = await dispatch(answer(`HTTP/1.1 ${head}\r\n${rest}`));
      expect(steps).toEqual([['start'], ['error', 'UND_ERR_SOCKET', 'SocketError']]);
    }
  });

  test.each(['0.9', '2.0'])('HTTP/%s is taken for HTTP/1.0, without an error', async (version) => {
    const { steps, backend } = await dispatch(answer(`HTTP/${version} 200 OK\r\nContent-Length: 2\r\n\r\nok`));
    expect(steps).toEqual([['start'], ['head', 200, { 'content-length': '2' }, true], ['data', 'ok'], ['end']]);
    await eventually('the connection is not kept', () => backend?.connections.size === 0);
  });

  test.each(['0.0', '1.2', '1.9', '2.1', '3.0', '1.10', '10.1', '1'])('HTTP/%s is an error', async (version) => {
    const { steps } = await dispatch(answer(`HTTP/${version} 200 OK\r\nContent-Length: 2\r\n\r\nok`));
    expect(steps).toEqual([['start'], ['error', undefined, 'HTTPParserError']]);
  });

  test('a socket has its parser as soon as undici was given it, and the parser tells the version of each head', async () => {
    const backend = cleanup.add(
      await RecorderBackend.start(answer('HTTP/1.1 103 E\r\n\r\nHTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n')),
    );
    const seen: unknown[] = [];
    const connect = buildConnector({});
    const client = new Client(backend.url, {
      connect(target, callback) {
        connect(target, (error, socket) => {
          callback(error as null, socket as never);
          const symbol = Object.getOwnPropertySymbols(socket).find(({ description }) => description === 'parser');
          const parser = socket?.[symbol as keyof typeof socket] as unknown as {
            ptr: number;
            llhttp: { llhttp_get_http_major(ptr: number): number };
            onHeadersComplete(...told: unknown[]): number;
          };
          const complete = parser.onHeadersComplete;
          parser.onHeadersComplete = function (...told) {
            seen.push([this.llhttp.llhttp_get_http_major(this.ptr), ...told]);
            return complete.apply(this, told);
          };
        });
      },
    });
    cleanup.add({ close: () => client.destroy() });
    expect((await client.request({ path: '/', method: 'GET' })).statusCode).toBe(200);
    expect(seen).toEqual([
      [1, 103, false, expect.any(Boolean)],
      [2, 200, false, false],
    ]);
  });

  test('an option of a parser makes it read on behind a message that closes, and drop a head that has no content', async () => {
    const backend = cleanup.add(
      await RecorderBackend.start(
        answer('HTTP/1.0 100 Continue\r\nX-A: 1\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'),
      ),
    );
    const connect = buildConnector({});
    const client = new Client(backend.url, {
      connect(target, callback) {
        connect(target, (error, socket) => {
          callback(error as null, socket as never);
          const symbol = Object.getOwnPropertySymbols(socket).find(({ description }) => description === 'parser');
          const parser = socket?.[symbol as keyof typeof socket] as unknown as {
            ptr: number;
            statusCode: number;
            headers: unknown[];
            llhttp: { llhttp_set_lenient_keep_alive(ptr: number, on: number): void };
            onHeadersComplete(...told: unknown[]): number;
          };
          const complete = parser.onHeadersComplete;
          parser.onHeadersComplete = function (...told) {
            if (told[0] !== 100) return complete.apply(this, told);
            this.llhttp.llhttp_set_lenient_keep_alive(this.ptr, 1);
            this.statusCode = 100;
            this.headers = [];
            return 1;
          };
        });
      },
    });
    cleanup.add({ close: () => client.destroy() });
    const { statusCode, headers, body } = await client.request({ path: '/', method: 'GET' });
    expect([statusCode, headers, await body.text()]).toEqual([200, { 'content-length': '2' }, 'ok']);
  });

  test('of several codings, chunked alone is taken off: the rest is handed out as if it were the content', async () => {
    const { steps } = await dispatch(
      answer('HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n'),
    );
    expect(steps.map(([step]) => step)).toEqual(['start', 'head', 'data', 'end']);
  });

  test('close-delimited content that a reset cuts looks complete', async () => {
    const { steps } = await dispatch((socket) => {
      socket.write('HTTP/1.0 200 OK\r\n\r\nhalf', () => afterRead(() => socket.resetAndDestroy()));
    });
    expect(steps.slice(-2)).toEqual([['data', 'half'], ['end']]);
  });

  test('a reason phrase is read as UTF-8, and may be anything', async () => {
    const backend = cleanup.add(
      await RecorderBackend.start(answer('HTTP/1.1 200 caf\xe9\0\r\nContent-Length: 0\r\n\r\n')),
    );
    const pool = new Pool(backend.url, { allowH2: false });
    cleanup.add({ close: () => pool.destroy() });
    const phrase = await new Promise((resolve, reject) => {
      pool.dispatch(
        { path: '/', method: 'GET' },
        {
          onRequestStart: () => {},
          onResponseStart: (_controller, _status, _fields, text) => resolve(text),
          onResponseData: () => {},
          onResponseEnd: () => {},
          onResponseError: (_controller, error) => reject(error),
        },
      );
    });
    expect(phrase).toBe('caf\ufffd\0');
  });

  test('a head waits for the first byte of its content', async () => {
    const backend = cleanup.add(await RecorderBackend.start());
    const pool = new Pool(backend.url, { allowH2: false });
    cleanup.add({ close: () => pool.destroy() });
    const content = new PassThrough();
    const answered = new Promise<void>((resolve, reject) => {
      pool.dispatch(
        { path: '/', method: 'POST', body: content, headers: ['content-length', '2'] },
        {
          onRequestStart: () => {},
          onResponseStart: () => resolve(),
          onResponseData: () => {},
          onResponseEnd: () => {},
          onResponseError: (_controller, error) => reject(error),
        },
      );
    });
    await eventually('it is connected', () => backend.connections.size === 1);
    await stays('the head waits for the content', () => backend.requests.length === 0, 50);
    content.end('ok');
    await answered;
    expect(backend.requests).toHaveLength(1);
  });
});

/** What lib/proxy/transport/unread-response.ts relies on, or works around, in Node's sockets. */
describe('a socket of Node', () => {
  async function pair() {
    const server = createServer({ allowHalfOpen: true, pauseOnConnect: true });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    cleanup.add({ close: () => new Promise((resolve) => server.close(resolve)) });
    const socket = connectTo((server.address() as AddressInfo).port, '127.0.0.1');
    cleanup.add({ close: () => socket.destroy() });
    const [[peer]] = (await Promise.all([once(server, 'connection'), once(socket, 'connect')])) as [[Socket], unknown];
    return { socket, peer };
  }

  test.each([
    ['a FIN and a reset', 'EPIPE', (peer: Socket) => void peer.end('bytes', () => peer.destroy())],
    ['a reset', 'ECONNRESET', (peer: Socket) => void peer.write('bytes', () => peer.destroy())],
  ])('reads what came before %s after a write has failed with %s', async (_what, code, leave) => {
    const { socket, peer } = await pair();
    const failed = new Promise<NodeJS.ErrnoException>((resolve) => {
      const { _write } = socket;
      // The error goes no further: that is what keeps the socket open.
      socket._write = (chunk, encoding) => {
        _write.call(socket, chunk, encoding, (error) => {
          if (error) resolve(error);
        });
      };
    });
    socket.write('a request');
    await new Promise((resolve) => setImmediate(resolve));
    const gone = once(peer, 'close');
    leave(peer);
    await gone;
    // Without a read in between: nothing has attached a listener.
    let error: NodeJS.ErrnoException | undefined;
    void failed.then((reason) => {
      error = reason;
    });
    while (error === undefined) {
      socket._write('more', 'utf8', () => {});
      await new Promise((resolve) => setImmediate(resolve));
    }
    if (process.platform === 'linux') expect(error).toMatchObject({ code, syscall: 'write' });
    const chunks: Buffer[] = [];
    for await (const chunk of socket) chunks.push(chunk as Buffer);
    expect(Buffer.concat(chunks).toString()).toBe('bytes');
  });
});
