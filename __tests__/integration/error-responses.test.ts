import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { text } from 'node:stream/consumers';
import { afterEach, expect, jest, test } from '@jest/globals';
import express from 'express';
import {
  basicAuth,
  circuitBreaker,
  type ErrorJson,
  type ErrorResponseOptions,
  errorResponses,
  ipRateLimit,
  requestGuard,
  roundRobinProxy,
  type ServiceRouterOptions,
  serviceRouter,
  upgradeHandler,
} from '../../lib/index.ts';
import { listen, type RunningServer } from '../support/servers.ts';

const NOWHERE = 'http://127.0.0.1:1';

const open: { close(): unknown }[] = [];

afterEach(async () => {
  jest.restoreAllMocks();
  for (const one of open.splice(0).reverse()) await one.close();
});

const kept = <T extends { close(): unknown }>(one: T): T => {
  open.push(one);
  return one;
};

const json: ErrorJson = ({ status, title, cause }) => ({ error: { status, code: cause, title } });

async function gateway(options?: ErrorResponseOptions): Promise<RunningServer> {
  const backend = kept(
    await listen((_req, res) => {
      res.writeHead(500, { 'content-type': 'text/plain' });
      res.end('of the backend');
    }),
  );
  const app = express();
  app.use(errorResponses(options));
  app.use(requestGuard());
  app.use('/limited', ipRateLimit({ limit: 1 }), (_req, res) => res.status(503).send('of a handler'));
  app.use('/private', basicAuth({ users: {} }));
  const isolated = circuitBreaker();
  isolated.isolate();
  app.use('/open', isolated);
  app.use('/down', kept(roundRobinProxy({ name: 'down', backends: [NOWHERE] })));
  const router = (name: string, more: Partial<ServiceRouterOptions>) =>
    app.use(
      `/${name}`,
      kept(
        serviceRouter({ services: { a: { backends: [NOWHERE] } }, routes: [{ path: '/a', service: 'a' }], ...more }),
      ),
    );
  router('router', {});
  router('own', { errors: { json: () => ({ own: true }) } });
  app.use(kept(roundRobinProxy({ backends: [backend.url] })));
  const server = kept(await listen(app));
  server.server.on('upgrade', upgradeHandler(app));
  return server;
}

const ask = async (url: string, init?: RequestInit) => {
  const response = await fetch(url, init);
  return {
    status: response.status,
    type: response.headers.get('content-type'),
    vary: response.headers.get('vary'),
    text: await response.text(),
  };
};

test.each([
  ['/%00', 400, { error: { status: 400, code: 'bad_request', title: 'Bad request' } }],
  ['/private', 401, { error: { status: 401, code: 'unauthenticated', title: 'Unauthorized' } }],
  ['/open', 503, { error: { status: 503, code: 'circuit_open', title: 'Service temporarily unavailable' } }],
  ['/down', 502, { error: { status: 502, code: 'connection_refused', title: 'The backend could not be reached' } }],
  ['/router', 404, { error: { status: 404, code: 'no_route', title: 'Not found' } }],
  ['/router/a', 502, { error: { status: 502, code: 'connection_refused', title: 'The backend could not be reached' } }],
  ['/own', 404, { own: true }],
])('%s: %d in the format of the app', async (path, status, body) => {
  const { url } = await gateway({ json });
  const response = await ask(url + path);
  expect({ ...response, text: JSON.parse(response.text) }).toEqual({
    status,
    type: 'application/json',
    vary: 'Accept',
    text: body,
  });
});

test('429 keeps its headers, and responses of handlers and backends stay as they are', async () => {
  const { url } = await gateway({ json });
  expect(await ask(`${url}/limited`)).toMatchObject({ status: 503, text: 'of a handler' });
  const limited = await fetch(`${url}/limited`);
  expect(limited.headers.get('retry-after')).toMatch(/^\d+$/);
  expect(await limited.json()).toEqual({ error: { status: 429, code: 'rate_limited', title: 'Too many requests' } });
  expect(await ask(url)).toMatchObject({ status: 500, type: 'text/plain', text: 'of the backend' });
});

test('a refused upgrade gets it too', async () => {
  const { url } = await gateway({ json });
  const headers = {
    connection: 'Upgrade',
    upgrade: 'websocket',
    'sec-websocket-version': '13',
    'sec-websocket-key': `${'a'.repeat(22)}==`,
  };
  const sent = request(`${url}/down`, { headers, agent: false }).end();
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  expect(response.statusCode).toBe(502);
  expect(JSON.parse(await text(response))).toMatchObject({ error: { code: 'connection_refused' } });
});

test('HEAD gets the head of that response, and no body', async () => {
  const { url } = await gateway({ json });
  const get = await fetch(`${url}/router`);
  const head = await fetch(`${url}/router`, { method: 'HEAD' });
  expect(head.headers.get('content-length')).toBe(String((await get.text()).length));
  expect(await head.text()).toBe('');
});

test.each([
  ['application/problem+json', 'application/json'],
  ['image/png', 'application/json'],
  [`text/html${',a/a;q=0.1'.repeat(200)}`, 'application/json'],
  ['text/plain', 'text/plain; charset=utf-8'],
  ['text/html', 'text/html; charset=utf-8'],
])('a client that accepts %s gets %s', async (accept, type) => {
  const { url } = await gateway({ json });
  expect(await ask(`${url}/router`, { headers: { accept } })).toMatchObject({ status: 404, type });
});

test('without options browsers get HTML and others the problem document', async () => {
  const { url } = await gateway();
  expect(await ask(`${url}/down`, { headers: { accept: 'text/html' } })).toMatchObject({
    status: 502,
    type: 'text/html; charset=utf-8',
  });
  expect(await ask(`${url}/down`)).toMatchObject({ status: 502, type: 'application/problem+json' });
});

const cyclic: unknown[] = [];
cyclic.push(cyclic);

test.each<[string, ErrorJson]>([
  [
    'throws',
    () => {
      throw new Error('no format');
    },
  ],
  ['returns nothing', () => undefined],
  ['returns a promise', async () => ({})],
  ['returns what JSON cannot have', () => cyclic],
])('a function that %s costs only its format', async (_, broken) => {
  const warn = jest.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
  const { url } = await gateway({ json: broken });
  expect(await ask(`${url}/router`)).toMatchObject({ status: 404, type: 'application/problem+json' });
  expect(warn.mock.calls.flat()).toContainEqual(expect.objectContaining({ code: 'WARN_EXPRESSWAY_ERROR_PAGE' }));
});

test.each([
  [{ jsno: json }, 'errorResponses: unknown option "jsno": did you mean "json"?'],
  [{ json: {} }, 'errorResponses: json must be a function'],
  [{ pages: { 200: 'x.html' } }, 'pages: "200" must be a status or a cause'],
  [{ html: '/no/such' }, 'errorResponses: html "/no/such" cannot be read: no such file'],
])('%j is rejected', (options, text) => {
  expect(() => errorResponses(options as ErrorResponseOptions)).toThrow(text);
});
