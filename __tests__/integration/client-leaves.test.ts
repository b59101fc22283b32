import type { ServerResponse } from 'node:http';
import { performance } from 'node:perf_hooks';
import { afterEach, describe, expect, test } from '@jest/globals';
import type { RoundRobinProxyOptions } from 'expressway';
import { Cleanup, proxyGateway } from '../support/gateway.ts';
import { PROTOCOLS, type Protocol, type TextClient } from '../support/protocols.ts';
import { answerOk, RecorderBackend, type Script } from '../support/recorder-backend.ts';
import { eventually } from '../support/servers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

/** What is asked of a gateway: the backend request ends within so many milliseconds of the client's. */
const WITHIN_MS = 100;
/** A busy machine needs more for anything at all: so many round trips of the same run. */
const ROUND_TRIPS = 10;

const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';
const HALF_SENT = 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf';
const HALF_RECEIVED = 'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf';

/** A failure would open a circuit at once. */
const STRICT: Partial<RoundRobinProxyOptions> = { circuit: { minimumRequests: 1, failureRatio: 0.01 } };

async function setUp(protocol: Protocol, options: Partial<RoundRobinProxyOptions>, ...scripts: readonly Script[]) {
  const backends: RecorderBackend[] = [];
  for (const script of scripts) backends.push(cleanup.add(await RecorderBackend.start(script)));
  const responses: ServerResponse[] = [];
  const { port, proxy } = cleanup.add(
    await proxyGateway(
      { backends: backends.map(({ url }) => url), ...STRICT, ...options },
      (app) =>
        app.use((_req, res, next) => {
          responses.push(res);
          next();
        }),
      protocol.serverOf,
    ),
  );
  const open = async () => cleanup.add(await protocol.connect(port));
  const last = backends.at(-1) as RecorderBackend;

  /** How long a request takes from end to end, on the connection of a client: the slowest of some. */
  async function roundTrip(client: TextClient): Promise<number> {
    const { script } = last;
    for (const backend of backends) backend.script = answerOk;
    let slowest = 0;
    for (let i = 0; i < 5 * backends.length; i += 1) {
      const begun = performance.now();
      client.send(GET);
      await client.response();
      slowest = Math.max(slowest, performance.now() - begun);
    }
    for (const [index, backend] of backends.entries()) {
      backend.script = scripts[index] ?? script;
      backend.requests.length = 0;
    }
    responses.length = 0;
    return slowest;
  }

  /** The client gives up: how long it takes until a condition holds. */
  async function abort(client: TextClient, what: string, condition: () => boolean): Promise<number> {
    const begun = performance.now();
    client.abort();
    await eventually(what, condition);
    return performance.now() - begun;
  }

  return { open, roundTrip, abort, proxy, backends, last, responses };
}

const isBusy = ({ connections }: RecorderBackend) => connections.size > 0;

describe.each(PROTOCOLS)(
  'a client of $name that gives up ends the request at the backend at once, and no backend is blamed',
  (protocol) => {
    const moments: readonly [
      string,
      string,
      Script,
      (at: { backend: RecorderBackend; response: ServerResponse | undefined }) => unknown,
    ][] = [
      ['before the response', GET, () => {}, ({ backend }) => backend.requests.length > 0],
      [
        'within the content of its request',
        HALF_SENT,
        () => {},
        ({ backend }) => backend.received.some((one) => one.includes('half')),
      ],
      [
        'within the response',
        GET,
        (socket) => void socket.write(HALF_RECEIVED),
        ({ response }) => response?.headersSent,
      ],
    ];

    test.each(moments)('%s', async (_moment, request, script, isThere) => {
      const { open, roundTrip, abort, proxy, last, responses } = await setUp(protocol, {}, script);
      const client = await open();
      const tripMs = await roundTrip(client);
      client.send(request);
      await eventually('it is there', () => isThere({ backend: last, response: responses.at(-1) }));
      const took = await abort(client, 'the backend sees the end', () => !isBusy(last));
      expect(took).toBeLessThan(Math.max(WITHIN_MS, ROUND_TRIPS * tripMs));
      await eventually('it is over', () => proxy.status()[0]?.inFlight === 0);
      expect(proxy.status()[0]?.circuit).toBe('closed');
      expect(last.requests).toHaveLength(1);
    });

    test('while it waits for a backend', async () => {
      const options = { maxRequests: 1, queue: { size: 9, timeoutMs: 60_000 } };
      const { open, roundTrip, abort, proxy, last } = await setUp(protocol, options, () => {});
      const [first, second] = [await open(), await open()];
      const tripMs = await roundTrip(second);
      first.send(GET);
      await eventually('the backend has it', () => last.requests.length === 1);
      second.send(HALF_SENT);
      await eventually('it waits', () => proxy.load().waiting === 1);
      const took = await abort(second, 'nothing waits', () => proxy.load().waiting === 0);
      expect(took).toBeLessThan(Math.max(WITHIN_MS, ROUND_TRIPS * tripMs));
      for (const connection of last.connections) connection.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
      expect((await first.response()).status).toBe(200);
      expect(last.requests).toHaveLength(1);
      expect(proxy.status()[0]).toMatchObject({ inFlight: 0, circuit: 'closed' });
    });

    test('while its request is retried', async () => {
      const { open, roundTrip, abort, proxy, backends, last } = await setUp(
        protocol,
        {},
        (socket) => void socket.resetAndDestroy(),
        () => {},
      );
      const client = await open();
      const tripMs = await roundTrip(client);
      client.send(GET);
      await eventually('the second backend has it', () => last.requests.length === 1);
      const took = await abort(client, 'the second backend sees the end', () => !isBusy(last));
      expect(took).toBeLessThan(Math.max(WITHIN_MS, ROUND_TRIPS * tripMs));
      await eventually('it is over', () => proxy.status().every(({ inFlight }) => inFlight === 0));
      expect(backends.map(({ requests }) => requests.length)).toEqual([1, 1]);
      expect(proxy.status()[1]?.circuit).toBe('closed');
    });
  },
);
