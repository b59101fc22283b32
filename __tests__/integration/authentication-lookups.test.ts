import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import express, { type RequestHandler } from 'express';
import { apiKeyAuth, basicAuth, forwardAuth, GatewayEvents, jwtAuth, roundRobinProxy } from 'expressway';
import { SignJWT } from 'jose';
import { Cleanup } from '../support/gateway.ts';
import { listen } from '../support/servers.ts';

const cleanup = new Cleanup();
let warned: jest.SpiedFunction<typeof process.emitWarning>;
beforeEach(() => {
  warned = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
});
afterEach(async () => {
  warned.mockRestore();
  await cleanup.run();
});

async function ask(auth: RequestHandler, headers: Record<string, string>): Promise<number> {
  const { url } = cleanup.add(await listen(express().use(auth, (_req, res) => void res.end())));
  return (await fetch(url, { headers })).status;
}

const FUNCTIONS: Record<string, readonly [make: (found: () => never) => RequestHandler, name: string]> = {
  'keys of apiKeyAuth()': [(keys) => apiKeyAuth({ keys }), 'apiKeyAuth: keys()'],
  'users of basicAuth()': [(users) => basicAuth({ users }), 'basicAuth: users()'],
};

describe.each(Object.entries(FUNCTIONS))('the result of %s', (_what, [make, name]) => {
  const headers = { 'x-api-key': 'the-secret', authorization: `Basic ${btoa('a:the-secret')}` };

  test.each<[string, unknown, string]>([
    ['with the name of the list', { consumer: 'the-secret' }, 'an object with consumer, without a name'],
    ['without anything', {}, 'an empty object, without a name'],
    ['that is true', true, 'a value of type boolean'],
    ['that is a text', 'the-secret', 'a value of type string'],
    ['that is a list', [{ name: 'the-secret' }], 'a list'],
    ['with a number as its name', { name: 7 }, 'a name that is not a text, or an empty one'],
    ['with an empty name', { name: '' }, 'a name that is not a text, or an empty one'],
    ['with an object as its plan', { name: 'a', plan: {} }, 'a plan that is not a text'],
  ])('%s gives 503, and one warning that says what is wrong and no secret', async (_shape, result, problem) => {
    for (const value of [result, Promise.resolve(result)]) {
      warned.mockClear();
      const auth = make(() => value as never);
      expect([await ask(auth, headers), await ask(auth, headers)]).toEqual([503, 503]);
      expect(warned).toHaveBeenCalledTimes(1);
      const [message, options] = warned.mock.calls[0] as unknown as [string, { code: string }];
      expect(message).toBe(
        `${name} must return an object { name, plan } or undefined; it returned ${problem}. Requests get 503.`,
      );
      expect(options.code).toBe('WARN_EXPRESSWAY_CONSUMER');
    }
  });

  test.each<[unknown, number]>([
    [undefined, 401],
    [null, 401],
    [{ name: 'a' }, 200],
    [{ name: 'a', plan: null }, 200],
    [{ name: 'a', plan: 'gold', more: 1 }, 200],
  ])('may be %j', async (value, status) => {
    expect(
      await ask(
        make(() => value as never),
        headers,
      ),
    ).toBe(status);
    expect(warned).not.toHaveBeenCalled();
  });
});

test.each([
  [65_536, 401, undefined],
  [65_537, 503, "the body of the service's 401 is larger than 65536 bytes"],
])('forwardAuth() passes a body of %d bytes with status %d', async (size, status, why) => {
  const service = cleanup.add(await listen((_req, res) => void res.writeHead(401).end('x'.repeat(size))));
  const events = new GatewayEvents();
  const errors: unknown[] = [];
  events.on('rejected', ({ outcome }) => errors.push('error' in outcome ? outcome.error?.message : undefined));
  expect(await ask(forwardAuth({ url: service.url, events }), {})).toBe(status);
  expect(errors).toEqual(why === undefined ? [] : [why]);
});

test('jwtAuth() reads the cookie when Authorization has another scheme', async () => {
  const secret = 'a shared secret of at least 32 characters';
  const token = await new SignJWT({ sub: 'acme' })
    .setProtectedHeader({ alg: 'HS256' })
    .setExpirationTime('1h')
    .sign(new TextEncoder().encode(secret));
  const auth = jwtAuth({ secret, cookie: 'session' });
  expect(await ask(auth, { cookie: `session=${token}`, authorization: `Basic ${btoa('a:b')}` })).toBe(200);
  expect(await ask(auth, { cookie: `session=${token}`, authorization: 'Bearer other' })).toBe(401);
});

test.each([
  [{}, 'of the client'],
  [{ requestHeaders: { remove: ['authorization'] } }, 'none'],
])('the backend of a proxy with %j behind basicAuth() gets this password: %s', async (options, expected) => {
  const authorization = `Basic ${btoa('a:b')}`;
  const seen: unknown[] = [];
  const backend = cleanup.add(
    await listen((req, res) => {
      seen.push(req.headers.authorization === authorization ? 'of the client' : 'none');
      res.end();
    }),
  );
  const proxy = cleanup.add(roundRobinProxy({ backends: [backend.url], ...options }));
  const app = express().use(basicAuth({ users: (name) => ({ name }) }), proxy);
  const { url } = cleanup.add(await listen(app));
  expect((await fetch(url, { headers: { authorization } })).status).toBe(200);
  expect(seen).toEqual([expected]);
});
