import { afterEach, describe, expect, test } from '@jest/globals';
import { type Dispatcher, Pool } from 'undici';
import { Cleanup } from '../support/gateway.ts';
import { answer, answerOk, RecorderBackend, type Script } from '../support/recorder-backend.ts';
import { closedPort } from '../support/servers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

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
  test('a refused connection is reported before onRequestStart: nothing was sent', async () => {
    const { steps } = await dispatch(await closedPort());
    expect(steps).toEqual([['error', 'ECONNREFUSED', 'Error']]);
  });

  test('a small answer comes as head, data and end; names in lower case, repeats as arrays', async () => {
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

  test('an upgrade hands out the socket, with the protocol name that was given', async () => {
    const { steps, backend } = await dispatch(
      answer('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n'),
      { upgrade: 'websocket' },
    );
    expect(steps).toEqual([['start'], ['upgrade', 101]]);
    expect(backend?.requests[0]?.field('upgrade')).toBe('websocket');
  });

  test('a HEAD request costs its connection', async () => {
    const { backend } = await dispatch(answer('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n'), { method: 'HEAD' });
    expect(backend?.requests[0]?.field('connection')).toBe('close');
  });
});
