import { createServer } from 'node:http';
import { afterEach, describe, expect, test } from '@jest/globals';
import { GatewayEvents, hardenServer, OptionsError, requestGuard, roundRobinProxy } from 'expressway';
import { EXPRESS_VERSIONS } from '../../support/express-versions.ts';
import { Cleanup } from '../../support/gateway.ts';
import { rawRequest } from '../../support/raw-client.ts';
import { RecorderBackend } from '../../support/recorder-backend.ts';
import { listen } from '../../support/servers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const get = (target: string) => `GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n`;

describe.each(EXPRESS_VERSIONS)('requestGuard() in %s', (_name, create) => {
  test('rejects requests before other middlewares, emits an event, and passes all others', async () => {
    const seen: string[] = [];
    const events = new GatewayEvents();
    const rejected: string[] = [];
    events.on('rejected', ({ outcome }) => rejected.push('cause' in outcome ? outcome.cause : outcome.kind));
    const app = create();
    app.use(requestGuard({ events }), (req, res) => {
      seen.push(req.url);
      res.end('ok');
    });
    const { port } = cleanup.add(await listen(app));
    expect((await rawRequest(port, get('/a/../b'))).status).toBe(400);
    expect((await rawRequest(port, get('/a'))).status).toBe(200);
    expect([seen, rejected]).toEqual([['/a'], ['bad_request']]);
  });

  test('the proxy still rejects paths by its own option when the guard passes them', async () => {
    const backend = cleanup.add(await RecorderBackend.start());
    const [strict, lenient] = [{}, { ambiguousPaths: 'pass' as const }].map((more) =>
      cleanup.add(roundRobinProxy({ backends: [backend.url], ...more })),
    );
    const app = create();
    app.use(requestGuard({ ambiguousPaths: 'pass' }));
    app.use('/strict', strict as never);
    app.use('/lenient', lenient as never);
    const { port } = cleanup.add(await listen(app));
    expect((await rawRequest(port, get('/strict/a%5cb'))).status).toBe(400);
    expect((await rawRequest(port, get('/lenient/a%5cb'))).status).toBe(200);
    expect(backend.requests.map(({ target }) => target)).toEqual(['/a%5Cb']);
  });
});

test('bad options are named, each of them', () => {
  expect(() => requestGuard({ ambiguousPaths: 'maybe', other: 1 } as never)).toThrow(
    /unknown option "other"; ambiguousPaths must be one of "reject", "strict", "pass", got "maybe"/,
  );
  expect(() => hardenServer(createServer(), { maxFields: 0, keepAliveTimeoutMs: -1 })).toThrow(
    /keepAliveTimeoutMs must be an integer from 1 to 2147483647, got -1; maxFields must be/,
  );
});

test('hardenServer() throws for a server that already listens', async () => {
  const { server } = cleanup.add(await listen(() => {}));
  expect(() => hardenServer(server)).toThrow(OptionsError);
});
