import { afterEach, describe, expect, test } from '@jest/globals';
import { Cleanup } from '../support/gateway.ts';
import { closedPort, eventually } from '../support/servers.ts';
import { type Ended, grpcBackend, grpcGateway } from './grpc-service.ts';
import { describeInstalled, installed } from './installed.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const OK = 0;
const CANCELLED = 1;
const DEADLINE_EXCEEDED = 4;
const NOT_FOUND = 5;
const RESOURCE_EXHAUSTED = 8;
const UNIMPLEMENTED = 12;
const UNAVAILABLE = 14;

const statusOf = ({ code, details }: Ended) => [code, details];

describeInstalled('@grpc/grpc-js through limiter, circuit breaker and proxy', () => {
  describe('calls', () => {
    test('unary calls go to the backends in turn, with messages, status and trailers', async () => {
      const [a, b] = [await grpcBackend(cleanup, 'a'), await grpcBackend(cleanup, 'b')];
      const { unary } = await grpcGateway(cleanup, { backends: [a.url, b.url] });
      const all: Ended[] = [];
      for (let i = 0; i < 4; i += 1) all.push(await unary(`call ${i}`));
      expect(all.map(({ messages }) => messages[0]?.slice(1))).toEqual([' call 0', ' call 1', ' call 2', ' call 3']);
      expect(all.map(({ messages }) => messages[0]?.[0]).sort()).toEqual(['a', 'a', 'b', 'b']);
      expect(new Set(all.map(({ code }) => code))).toEqual(new Set([OK]));
      expect(all[0]?.trailers).toEqual({ 'x-trailer': 'kept' });
    });

    test('300 calls at a time', async () => {
      const [a, b] = [await grpcBackend(cleanup, 'a'), await grpcBackend(cleanup, 'b')];
      const { unary } = await grpcGateway(cleanup, { backends: [a.url, b.url] });
      const all = await Promise.all(Array.from({ length: 300 }, (_, i) => unary(`${i}`)));
      expect(all.map(({ messages }) => messages[0]?.slice(2))).toEqual(Array.from({ length: 300 }, (_, i) => `${i}`));
      expect(all.filter(({ messages }) => messages[0]?.[0] === 'a')).toHaveLength(150);
    });

    test('streams of the server, of the client and of both', async () => {
      const { url } = await grpcBackend(cleanup, 'a');
      const { client, ended } = await grpcGateway(cleanup, { backends: [url] });
      const streamed = await ended(() => client.serverStream(Buffer.from('1000')));
      expect([streamed.code, streamed.messages.length, streamed.messages.at(-1)]).toEqual([OK, 1_000, 'a 999']);
      const sent = await ended((done) => {
        const call = client.clientStream(done);
        for (let i = 0; i < 64; i += 1) call.write(Buffer.alloc(65_536));
        call.end();
        return call;
      });
      expect([sent.code, sent.messages]).toEqual([OK, [String(64 * 65_536)]]);
      const both = await ended(() => {
        const call = client.bidi();
        let n = 0;
        // Each message waits for the response to the one before.
        call.on('data', () => {
          n += 1;
          if (n < 10) call.write(Buffer.from(`message ${n}`));
          else call.end();
        });
        call.write(Buffer.from('message 0'));
        return call;
      });
      expect([both.code, both.messages]).toEqual([OK, Array.from({ length: 10 }, (_, i) => `message ${i}`)]);
    });

    test('a slow reader gets every message', async () => {
      const { url } = await grpcBackend(cleanup, 'a', {
        serverStream: (call) => {
          for (let i = 0; i < 200; i += 1) call.write(Buffer.alloc(10_000, i));
          call.end();
        },
      });
      const { client, ended } = await grpcGateway(cleanup, { backends: [url] });
      let messages = 0;
      const { code } = await ended(() => {
        const call = client.serverStream(Buffer.from(''));
        call.on('data', () => {
          messages += 1;
          if (messages % 50 !== 1) return;
          call.pause();
          setTimeout(() => call.resume(), 50);
        });
        return call;
      });
      expect([code, messages]).toEqual([OK, 200]);
    });

    test('a message of 3 MiB up and down', async () => {
      const { url } = await grpcBackend(cleanup, 'a');
      const { unary } = await grpcGateway(cleanup, { backends: [url] });
      const message = 'x'.repeat(3 * 1_048_576);
      expect((await unary(message)).messages).toEqual([`a ${message}`]);
    });
  });

  describe('status, deadline and cancellation', () => {
    test('a status and its text pass as they are, before and after messages', async () => {
      const error = { code: NOT_FOUND, details: 'no such thing: 100 % für dich' };
      const { url } = await grpcBackend(cleanup, 'a', {
        unary: (_call, done) => done(error),
        serverStream: (call) => {
          call.write(Buffer.from('one'));
          call.emit('error', error);
        },
      });
      const { client, ended, unary } = await grpcGateway(cleanup, { backends: [url] });
      expect(statusOf(await unary('x'))).toEqual([NOT_FOUND, error.details]);
      const streamed = await ended(() => client.serverStream(Buffer.from('')));
      expect([...statusOf(streamed), streamed.messages]).toEqual([NOT_FOUND, error.details, ['one']]);
    });

    test('the backend gets the deadline, and is cancelled when it is over', async () => {
      let leftMs = 0;
      let cancelled = false;
      const { url } = await grpcBackend(cleanup, 'a', {
        unary: (call) => {
          leftMs = call.getDeadline() - Date.now();
          call.on('cancelled', () => {
            cancelled = true;
          });
        },
      });
      const { unary, proxy } = await grpcGateway(cleanup, { backends: [url] });
      expect((await unary('x', 1_000)).code).toBe(DEADLINE_EXCEEDED);
      expect(leftMs).toBeGreaterThan(0);
      expect(leftMs).toBeLessThanOrEqual(1_000);
      await eventually('the backend hears of it', () => cancelled);
      await eventually('the slot is free', () => proxy.status()[0]?.inFlight === 0);
      expect(proxy.status()[0]?.circuit).toBe('closed');
    });

    test('a cancelled call ends at the backend, and counts against no backend', async () => {
      let cancelledAt = 0;
      const { url } = await grpcBackend(cleanup, 'a', {
        bidi: (call) => {
          call.on('data', (message: Buffer) => call.write(message));
          call.on('cancelled', () => {
            cancelledAt = performance.now();
          });
        },
      });
      const { client, ended, proxy } = await grpcGateway(cleanup, { backends: [url], circuit: { minimumRequests: 3 } });
      const tookMs: number[] = [];
      for (let i = 0; i < 10; i += 1) {
        cancelledAt = 0;
        let at = 0;
        const { code } = await ended(() => {
          const call = client.bidi();
          call.on('data', () => {
            at = performance.now();
            call.cancel();
          });
          call.write(Buffer.from('x'));
          return call;
        });
        expect(code).toBe(CANCELLED);
        await eventually('the backend hears of it', () => cancelledAt > 0);
        tookMs.push(cancelledAt - at);
      }
      // The machine may be busy for some of them, not for all.
      expect(Math.min(...tookMs)).toBeLessThan(100);
      expect(proxy.status()[0]).toMatchObject({ circuit: 'closed', inFlight: 0 });
    });
  });

  describe('responses of the gateway itself', () => {
    test('over the limit: RESOURCE_EXHAUSTED, and when to try again', async () => {
      const { url } = await grpcBackend(cleanup, 'a');
      const { unary } = await grpcGateway(cleanup, { backends: [url] }, { limit: 1 });
      expect((await unary('x')).code).toBe(OK);
      const limited = await unary('x');
      expect([limited.code, limited.details]).toEqual([
        RESOURCE_EXHAUSTED,
        expect.stringContaining('Too many requests'),
      ]);
      expect(Number(limited.trailers['grpc-retry-pushback-ms'])).toBeGreaterThan(0);
    });

    test('no backend: UNAVAILABLE; no response in time: DEADLINE_EXCEEDED', async () => {
      const gone = await grpcGateway(cleanup, { backends: [`http://127.0.0.1:${await closedPort()}`] });
      expect(statusOf(await gone.unary('x'))).toEqual([UNAVAILABLE, 'The backend could not be reached']);
      const { url } = await grpcBackend(cleanup, 'a', { unary: () => {} });
      const silent = await grpcGateway(cleanup, { backends: [url], responseTimeoutMs: 100 });
      expect(statusOf(await silent.unary('x'))).toEqual([
        DEADLINE_EXCEEDED,
        expect.stringContaining('The backend did not respond in time'),
      ]);
    });
  });

  describe('failures', () => {
    test.each([
      [
        'breaks off',
        UNAVAILABLE,
        {},
        (backend: { server: { forceShutdown(): void } }) => backend.server.forceShutdown(),
      ],
      ['sends nothing more', DEADLINE_EXCEEDED, { idleTimeoutMs: 200 }, () => {}],
      [
        'gets too long a call',
        RESOURCE_EXHAUSTED,
        { maxBodyBytes: 1_000 },
        (_: unknown, call: { write(message: Buffer): void }) => call.write(Buffer.alloc(2_000)),
      ],
    ])('a stream whose backend %s ends with status %d, after the messages so far', async (_, code, options, then) => {
      const backend = await grpcBackend(cleanup, 'a');
      const { ended, client, proxy } = await grpcGateway(cleanup, { backends: [backend.url], ...options });
      const {
        code: got,
        details,
        messages,
      } = await ended(() => {
        const call = client.bidi();
        call.once('data', () => then(backend, call));
        call.write(Buffer.from('message'));
        return call;
      });
      expect([got, messages, details]).toEqual([code, ['message'], expect.stringMatching(/backend|Content too large/)]);
      await eventually('the call is over', () => proxy.status()[0]?.inFlight === 0);
    });

    test('a backend that is not there: the calls go to another one', async () => {
      const { url } = await grpcBackend(cleanup, 'b');
      const { unary } = await grpcGateway(cleanup, { backends: [`http://127.0.0.1:${await closedPort()}`, url] });
      for (let i = 0; i < 6; i += 1) expect((await unary('x')).messages).toEqual(['b x']);
    });

    test.each([
      ['before a message', (_call: never, done: (error: object) => void) => done({ code: UNAVAILABLE })],
      [
        'after the head',
        (call: { sendMetadata(metadata: unknown): void }, done: (error: object) => void) => {
          const { Metadata } = installed('@grpc/grpc-js');
          call.sendMetadata(new Metadata());
          setImmediate(done, { code: UNAVAILABLE });
        },
      ],
    ])('UNAVAILABLE %s opens the circuit of the backend', async (_name, handler) => {
      const failing = await grpcBackend(cleanup, 'a', { unary: handler as never });
      const { url } = await grpcBackend(cleanup, 'b');
      const { unary, proxy } = await grpcGateway(cleanup, {
        backends: [failing.url, url],
        circuit: { minimumRequests: 3, openMs: 60_000 },
      });
      for (let i = 0; i < 8; i += 1) await unary('x');
      expect(proxy.status().map(({ circuit }) => circuit)).toEqual(['open', 'closed']);
      for (let i = 0; i < 4; i += 1) expect((await unary('x')).messages).toEqual(['b x']);
    });

    test.each([
      ['NOT_FOUND', NOT_FOUND],
      ['UNIMPLEMENTED', UNIMPLEMENTED],
      ['DEADLINE_EXCEEDED', DEADLINE_EXCEEDED],
      ['RESOURCE_EXHAUSTED', RESOURCE_EXHAUSTED],
    ])('%s, which a client can bring about, opens none', async (_name, code) => {
      const { url } = await grpcBackend(cleanup, 'a', { unary: (_call, done) => done({ code }) });
      const { unary, proxy } = await grpcGateway(cleanup, { backends: [url], circuit: { minimumRequests: 3 } });
      for (let i = 0; i < 6; i += 1) expect((await unary('x')).code).toBe(code);
      expect(proxy.status()[0]?.circuit).toBe('closed');
    });

    test('the circuit breaker of the route counts them as well', async () => {
      const { url } = await grpcBackend(cleanup, 'a', { unary: (_call, done) => done({ code: UNAVAILABLE }) });
      const { unary, breaker } = await grpcGateway(
        cleanup,
        { backends: [url], circuit: { minimumRequests: 10_000 } },
        {},
        3,
      );
      for (let i = 0; i < 6; i += 1) expect((await unary('x')).code).toBe(UNAVAILABLE);
      expect(breaker.state).toBe('open');
    });

    test('isFailure sees the status', async () => {
      const { url } = await grpcBackend(cleanup, 'a', { unary: (_call, done) => done({ code: NOT_FOUND }) });
      const seen = new Set<unknown>();
      const { unary } = await grpcGateway(cleanup, {
        backends: [url],
        isFailure: (outcome) => {
          seen.add(outcome.kind === 'completed' ? outcome.grpcStatus : outcome.kind);
          return false;
        },
      });
      await unary('x');
      expect([...seen]).toEqual([NOT_FOUND]);
    });

    test('a server that shuts down in peace loses no call', async () => {
      const first = await grpcBackend(cleanup, 'a');
      const other = await grpcBackend(cleanup, 'b');
      const { unary } = await grpcGateway(cleanup, { backends: [first.url, other.url] });
      let isDown = false;
      await unary('the connections are open');
      await unary('both of them');
      first.server.tryShutdown(() => {
        isDown = true;
      });
      let calls = 0;
      while (!isDown || calls < 100) {
        const all = await Promise.all(Array.from({ length: 20 }, (_, i) => unary(`${i}`)));
        calls += all.length;
        expect(all.map(({ code, details }) => [code, details])).toEqual(all.map(() => [OK, 'OK']));
      }
    });
  });

  describe('health checks', () => {
    const CHECK = '/grpc.health.v1.Health/Check';
    const path = (message: Buffer) => ({
      Check: {
        path: CHECK,
        requestStream: false,
        responseStream: false,
        requestDeserialize: (bytes: Buffer) => bytes,
        responseSerialize: () => message,
      },
    });
    const SERVING = Buffer.from([8, 1]);
    const NOT_SERVING = Buffer.from([8, 2]);

    test.each([
      ['that serves', SERVING, 'healthy'],
      ['that does not serve', NOT_SERVING, 'unhealthy'],
      ['without health checks', undefined, 'unhealthy'],
    ])('of a server %s', async (_name, message, verdict) => {
      const { server, url } = await grpcBackend(cleanup, 'a');
      const answer = (_call: unknown, done: (error: null, reply: object) => void) => done(null, {});
      if (message !== undefined) server.addService(path(message), { Check: answer });
      const { proxy } = await grpcGateway(cleanup, {
        backends: [url],
        healthCheck: { path: CHECK, intervalMs: 50, timeoutMs: 5_000 },
      });
      await eventually('the verdict is there', () => proxy.status()[0]?.health === verdict);
    });
  });
});
