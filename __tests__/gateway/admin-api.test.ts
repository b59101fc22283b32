import { readFileSync } from 'node:fs';
import { Agent } from 'node:http';
import { parseEnv } from 'node:util';
import { afterEach, describe, expect, test } from '@jest/globals';
import { Validator } from '@seriousme/openapi-schema-validator';
import Ajv2020 from 'ajv/dist/2020.js';
import express from 'express';
import { shownConfig } from '../../lib/gateway/admin/shown-config.ts';
import { readConfig } from '../../lib/gateway/config/config.ts';
import type { Host, HostedApp } from '../../lib/gateway/hosted-app.ts';
import { type BackendRow, roundRobinProxy, serviceRouter } from '../../lib/index.ts';
import { type Answer, type Asking, ask } from '../support/ask.ts';
import { Cleanup } from '../support/gateway.ts';
import { RawClient } from '../support/raw-client.ts';
import { closeAll, openBackend, openGateway, type TestGateway } from './gateways.ts';
import { until } from './until.ts';

const TOKEN = 'a-token-of-the-operators';
const BEARER = { Authorization: `Bearer ${TOKEN}` };

const openApi = JSON.parse(
  readFileSync(new URL('../../lib/gateway/admin/openapi.json', import.meta.url), 'utf8'),
) as OpenApi;

interface OpenApi {
  readonly paths: Record<string, Record<string, { responses: Record<string, ResponseObject> }>>;
  readonly components: { readonly responses: Record<string, ResponseObject>; readonly schemas: object };
}

interface ResponseObject {
  readonly $ref?: string;
  readonly content?: Record<string, { readonly schema: object }>;
}

const cleanup = new Cleanup();
afterEach(async () => {
  await cleanup.run();
  await closeAll();
});

/** Asks the API, and checks the answer against what the document says of this method and path. */
class Api {
  readonly #gateway: TestGateway;
  readonly #ajv = new Ajv2020.default({ strict: false, allErrors: true });

  constructor(gateway: TestGateway) {
    this.#gateway = gateway;
    this.#ajv.addSchema(openApi, 'openapi.json');
  }

  async ask(path: string, asking: Asking = {}): Promise<Answer> {
    const answer = await ask(this.#gateway.adminUrl + path, asking);
    this.#check((asking.method ?? 'GET').toLowerCase(), path.split('?')[0] as string, answer);
    return answer;
  }

  #check(method: string, path: string, { status, headers, json, text }: Answer): void {
    const template = Object.keys(openApi.paths).find((one) =>
      new RegExp(`^${one.replace(/\{\w+\}/g, '[^/]+')}$`).test(path),
    );
    if (template === undefined) throw new Error(`${path} is not in the document`);
    // A method that is not allowed is a problem like any other.
    const responses = (openApi.paths[template]?.[method] ?? openApi.paths['/api/status']?.get)?.responses;
    const key = responses?.[status] === undefined ? 'default' : String(status);
    let response = responses?.[key];
    let pointer = `/paths/${template.replaceAll('/', '~1')}/${method}/responses/${key}`;
    if (response?.$ref !== undefined) {
      pointer = response.$ref.slice(1);
      response = openApi.components.responses[pointer.split('/').at(-1) as string];
    }
    if (response?.content === undefined) {
      expect(text).toBe('');
      return;
    }
    const type = String(headers['content-type']);
    expect(Object.keys(response.content)).toContain(type);
    const ref = `openapi.json#${pointer}/content/${type.replaceAll('/', '~1')}/schema`;
    const validate = this.#ajv.compile({ $ref: encodeURI(ref) });
    expect({ path, errors: validate(json) ? [] : validate.errors }).toEqual({ path, errors: [] });
  }
}

async function openApiGateway(env: Record<string, string> = { ADMIN_TOKEN: TOKEN }) {
  const [one, two] = [await openBackend('one'), await openBackend('two')];
  const gateway = await openGateway([one.url, two.url], env);
  return { one, two, gateway, api: new Api(gateway) };
}

const idOf = ({ url }: { url: string }): string => encodeURIComponent(url);

describe('the admin API', () => {
  test('serves its own document, which is valid OpenAPI 3.1', async () => {
    const { gateway } = await openApiGateway();
    const answer = await ask(`${gateway.adminUrl}/api/openapi.json`);
    expect(answer.json).toEqual(openApi);
    const validator = new Validator();
    const result = await validator.validate(answer.json);
    expect(result).toMatchObject({ valid: true });
    expect(validator.version).toBe('3.1');
  });

  test('gives responses that match its OpenAPI document', async () => {
    const { one, two, gateway, api } = await openApiGateway({
      ADMIN_TOKEN: TOKEN,
      RATE_LIMIT_MAX: '5',
      HEALTH_CHECK_PATH: '/healthz',
    });
    await two.close();
    for (let i = 0; i < 8; i += 1) await ask(gateway.url);
    await until(async () => {
      const { json } = await api.ask('/api/status');
      return json.backends.some(({ lastError }: { lastError?: object }) => lastError !== undefined);
    });
    const { json: state } = await api.ask('/api/status');
    expect(state).toMatchObject({
      phase: 'running',
      canAct: true,
      clients: [{ key: '127.0.0.1', refused: 3, limit: 5 }],
    });
    expect((await api.ask('/api/backends')).json.backends.map(({ backend }: { backend: string }) => backend)).toEqual([
      one.url,
      two.url,
    ]);
    expect((await api.ask('/api/history')).json).toMatchObject({ slotMs: 10_000, length: 90 });
    expect((await api.ask('/api/config')).json.versions.node).toBe(process.versions.node);
    expect(await api.ask('/api/status', { method: 'POST' })).toMatchObject({ status: 405 });
  });

  test('drains, isolates and restores a backend', async () => {
    const { one, gateway, api } = await openApiGateway();
    const act = (name: string) => api.ask(`/api/backends/${idOf(one)}/${name}`, { method: 'POST', headers: BEARER });
    const served = async (): Promise<Set<string>> => {
      const answers = await Promise.all(Array.from({ length: 6 }, () => ask(gateway.url)));
      return new Set(answers.map(({ json }) => json.backend));
    };
    const row = async () => (await api.ask('/api/backends')).json.backends[0];
    expect(await act('drain')).toMatchObject({
      status: 200,
      json: { backend: one.url, operation: 'drain', services: ['default'] },
    });
    expect(await served()).toEqual(new Set(['two']));
    expect(await row()).toMatchObject({ held: 'drained', circuit: 'closed', weight: 1, unavailableIn: 1 });
    await act('isolate');
    expect(await row()).toMatchObject({ held: 'isolated', circuit: 'isolated' });
    expect(await served()).toEqual(new Set(['two']));
    await act('restore');
    expect(await row()).toMatchObject({ circuit: 'closed', unavailableIn: 0 });
    expect(await served()).toEqual(new Set(['one', 'two']));
    const changes = (await api.ask('/api/status')).json.changes.map(({ text }: { text: string }) => text);
    expect(changes).toEqual(expect.arrayContaining(['drained by an operator', 'restored by an operator']));
    expect(gateway.logged).toContainEqual(
      expect.objectContaining({
        msg: 'backend drained by an operator',
        operation: 'drain',
        backend: one.url,
        by: '127.0.0.1',
      }),
    );
  });

  test('a backend of several services is drained in all of them, or in the one that is named', async () => {
    const one = await openBackend('one');
    const app = ({ options, events }: Host): HostedApp => {
      const proxy = roundRobinProxy({ ...options.proxy, name: 'orders' });
      const users = roundRobinProxy({ backends: [one.url], name: 'users', events });
      return { app: express().use('/users', users).use(proxy), proxy, proxies: [users] };
    };
    const api = new Api(await openGateway([one.url], { ADMIN_TOKEN: TOKEN }, app));
    const operate = (name: string) =>
      api.ask(`/api/backends/${idOf(one)}/${name}`, { method: 'POST', headers: BEARER });
    const held = async () =>
      Object.fromEntries(
        (await api.ask('/api/backends')).json.backends.map(({ service, held }: BackendRow) => [service, held]),
      );
    expect((await operate('drain?service=users')).json).toEqual({
      backend: one.url,
      operation: 'drain',
      services: ['users'],
    });
    expect(await held()).toEqual({ users: 'drained' });
    expect((await operate('isolate')).json.services).toEqual(['orders', 'users']);
    expect(await held()).toEqual({ orders: 'isolated', users: 'isolated' });
    await operate('restore?service=orders');
    expect(await held()).toEqual({ users: 'isolated' });
    expect(await operate('drain?service=nobody')).toMatchObject({
      status: 404,
      json: { title: 'No such backend of this service', detail: expect.stringContaining('GET /api/backends') },
    });
    await operate('restore');
    for (const query of [
      'srevice=users',
      'Service=users',
      'service=users&service=orders',
      'service=users&x',
      'users',
    ]) {
      expect((await operate(`drain?${query}`)).status).toBe(400);
    }
    expect(await held()).toEqual({});
  });

  test('has the services and routes of an app with a router of its own', async () => {
    const [users, shop] = [await openBackend('users'), await openBackend('shop')];
    const app = ({ events }: Host): HostedApp => {
      const router = serviceRouter({
        services: { users: { backends: [users.url], adaptiveConcurrency: {} }, shop: { backends: [shop.url] } },
        routes: [
          { path: '/users', methods: ['GET'], service: 'users', rateLimit: '2/1m', circuit: {} },
          { name: 'web shop', path: '/shop', service: 'shop' },
        ],
        events,
      });
      return { app: express().use(router), router };
    };
    const gateway = await openGateway([users.url], { ADMIN_TOKEN: TOKEN, ACCESS_LOG: 'json' }, app);
    const api = new Api(gateway);
    for (const path of ['/users/1', '/users/2', '/users/3', '/shop', '/nowhere']) await ask(gateway.url + path);
    const { json } = await api.ask('/api/routes');
    expect(json.routeCount).toBe(3);
    expect(json.routes).toEqual(
      expect.arrayContaining([
        expect.objectContaining({
          route: 'GET /users',
          target: 'users',
          limits: ['2/1m'],
          circuit: { state: 'closed', retryAfterMs: 0 },
          limiters: [{ name: 'route GET /users', mode: 'memory' }],
          requests: 3,
          limited: 1,
        }),
        expect.objectContaining({
          route: 'web shop',
          match: '/shop',
          target: 'shop',
          limits: [],
          requests: 1,
          errors: 0,
        }),
        expect.objectContaining({ route: 'default', match: 'requests that no route takes', requests: 1 }),
      ]),
    );
    const { json: state } = await api.ask('/api/status');
    expect(state.routes).toHaveLength(3);
    expect(state.limiters).toEqual([{ name: 'route GET /users', mode: 'memory' }]);
    expect(state.breakers).toEqual([{ name: 'GET /users', state: 'closed', retryAfterMs: 0 }]);
    expect(state.backends.map(({ concurrency }: BackendRow) => concurrency)).toEqual([
      { limit: 50, inFlight: 0 },
      undefined,
    ]);
    expect((await ask(`${gateway.adminUrl}/status`)).json.routes).toEqual([
      {
        route: 'GET /users',
        circuit: { state: 'closed', retryAfterMs: 0 },
        limiters: [{ name: 'route GET /users', mode: 'memory' }],
      },
      { route: 'web shop', limiters: [] },
    ]);
    expect(state.backends.map(({ service }: BackendRow) => service)).toEqual(['users', 'shop']);
    const drained = await api.ask(`/api/backends/${idOf(shop)}/drain`, { method: 'POST', headers: BEARER });
    expect(drained.json).toMatchObject({ services: ['shop'] });
    const metrics = (await ask(`${gateway.adminUrl}/metrics`)).text;
    expect(metrics).toMatch(/expressway_requests_total\{.*route="web shop".*\} 1/);
    expect(metrics).toMatch(/expressway_backend_up\{.*service="shop"/);
    expect(metrics).toContain('expressway_limiter_mode{limiter="route GET /users",mode="memory"} 1');
    expect(metrics).toContain('expressway_circuit_state{service="",circuit="GET /users",state="closed"} 1');
  });

  test('resets the limit of a client', async () => {
    const { gateway, api } = await openApiGateway({ ADMIN_TOKEN: TOKEN, RATE_LIMIT_MAX: '1' });
    await ask(gateway.url);
    expect((await ask(gateway.url)).status).toBe(429);
    expect(await api.ask('/api/limits/127.0.0.1', { method: 'DELETE', headers: BEARER })).toMatchObject({
      status: 204,
    });
    expect((await ask(gateway.url)).status).toBe(200);
    expect((await api.ask('/api/status')).json.clients).toEqual([]);
  });

  test('a request with content is refused, and its connection goes on', async () => {
    const { one, gateway } = await openApiGateway();
    const client = cleanup.add(await RawClient.connect(Number(new URL(gateway.adminUrl).port)));
    const head = `POST /api/backends/${idOf(one)}/drain HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n`;
    client.send(head);
    expect((await client.response()).status).toBe(413);
    client.send(`${'x'.repeat(100_000)}GET /livez HTTP/1.1\r\nHost: a\r\n\r\n`);
    expect((await client.response()).status).toBe(200);
  });

  test('responds with 404 to unknown paths and with 400 to malformed requests', async () => {
    const { one, api, gateway } = await openApiGateway();
    const post = { method: 'POST', headers: BEARER };
    expect(await api.ask('/api/backends/http%3A%2F%2Fnobody/drain', post)).toMatchObject({ status: 404 });
    expect(await api.ask('/api/backends/%ff/drain', post)).toMatchObject({ status: 404 });
    expect(await api.ask('/api/limits/%ff', { method: 'DELETE', headers: BEARER })).toMatchObject({ status: 400 });
    const content = 'x'.repeat(2_000);
    expect(await api.ask(`/api/backends/${idOf(one)}/drain`, { ...post, content })).toMatchObject({ status: 413 });
    expect(await api.ask(`/api/backends/${idOf(one)}/drain`, { headers: BEARER })).toMatchObject({ status: 405 });
    for (const path of [
      '/api',
      '/api/',
      '/api/nothing',
      '/api/backends/x/explode',
      '/page/index.html',
      '/../config.ts',
    ]) {
      expect(await ask(gateway.adminUrl + path)).toMatchObject({ status: 404 });
    }
  });
});

describe('authentication of the admin API', () => {
  test('refuses every action without ADMIN_TOKEN, which needs at least 16 characters', async () => {
    const { one, api } = await openApiGateway({});
    const path = `/api/backends/${idOf(one)}/drain`;
    expect(await api.ask(path, { method: 'POST', headers: BEARER })).toMatchObject({ status: 403 });
    expect((await api.ask('/api/status')).json.canAct).toBe(false);
    expect(() => readConfig({ ADMIN_TOKEN: 'fifteen letters' })).toThrow(/ADMIN_TOKEN: must have at least 16/);
  });

  test('refuses wrong tokens, tokens in cookies or queries, and requests from pages of other sites', async () => {
    const { one, api } = await openApiGateway();
    const path = `/api/backends/${idOf(one)}/drain`;
    const tell = (headers: Record<string, string>) => api.ask(path, { method: 'POST', headers });
    for (const headers of [
      {},
      { Authorization: TOKEN },
      { Authorization: `Basic ${TOKEN}` },
      { Cookie: `token=${TOKEN}; Authorization=Bearer ${TOKEN}` },
      { Authorization: `Bearer ${TOKEN}x` },
      { Authorization: `Bearer ${TOKEN.slice(0, -1)}` },
    ]) {
      const answer = await tell(headers as Record<string, string>);
      expect(answer.status).toBe(401);
      expect(answer.headers['www-authenticate']).toBe('Bearer');
    }
    expect((await tell({ ...BEARER, Origin: 'https://evil.example' })).status).toBe(403);
    expect((await tell({ ...BEARER, Origin: 'null' })).status).toBe(403);
    expect((await tell({ ...BEARER, 'Sec-Fetch-Site': 'cross-site' })).status).toBe(403);
    expect((await api.ask('/api/backends')).json.backends[0].held).toBeUndefined();
    expect((await tell(BEARER)).status).toBe(200);
  });

  describe('wrong tokens', () => {
    const bearer = (token: string) => ({ method: 'POST', headers: { Authorization: `Bearer ${token}` } });

    test('from one address are slowed down after five, and the right token still works', async () => {
      const { api, gateway } = await openApiGateway();
      const tell = (token: string) => api.ask('/api/token', bearer(token));
      for (let i = 0; i < 5; i += 1) expect((await tell(`wrong-${i}`)).status).toBe(401);
      const began = Date.now();
      const [refused, accepted] = await Promise.all([tell('wrong-5'), tell(TOKEN)]);
      expect(Date.now() - began).toBeGreaterThan(900);
      expect([refused.status, accepted.status]).toEqual([429, 204]);
      expect(Number(refused.headers['retry-after'])).toBeGreaterThan(0);
      expect(gateway.logged.filter(({ msg }) => /without the right token/.test(msg))).toHaveLength(5);
      expect(JSON.stringify(gateway.logged)).not.toContain('wrong-');
    });

    test('from fifty addresses do not keep the right token out', async () => {
      const { api, gateway } = await openApiGateway();
      const agents = Array.from({ length: 60 }, (_, i) => new Agent({ localAddress: `127.0.1.${i + 1}` }));
      const answers = await Promise.all(
        agents.map((agent) => ask(`${gateway.adminUrl}/api/token`, { ...bearer('wrong'), agent })),
      );
      for (const agent of agents) agent.destroy();
      expect(answers.filter(({ status }) => status === 401)).toHaveLength(50);
      expect(answers.filter(({ status }) => status === 429)).toHaveLength(10);
      expect((await api.ask('/api/token', bearer(TOKEN))).status).toBe(204);
    });

    test('that are pipelined on one connection are checked one after the other', async () => {
      const { client } = await slowed();
      const began = Date.now();
      client.send(act('/api/token', 'wrong') + act('/api/token', 'wrong'));
      expect([(await client.response()).status, (await client.response()).status]).toEqual([429, 429]);
      expect(Date.now() - began).toBeGreaterThan(1_900);
    });

    test('delay the right one, whose action is dropped when its client leaves meanwhile', async () => {
      const { client, other, api, one } = await slowed();
      // What comes in one piece is read at once: with the answer to the first, the second waits.
      client.send(`GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n${act(`/api/backends/${idOf(one)}/drain`, TOKEN)}`);
      expect((await client.response()).status).toBe(200);
      client.close();
      other.send(act('/api/token', TOKEN));
      // Its wait ends after that of the one that left.
      expect((await other.response()).status).toBe(204);
      expect((await api.ask('/api/backends')).json.backends[0].held).toBeUndefined();
    });

    const act = (path: string, token: string): string =>
      `POST ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer ${token}\r\nContent-Length: 0\r\n\r\n`;

    /** Two connections from an address of which there were as many wrong tokens as are looked at without a wait. */
    async function slowed() {
      const { gateway, api, one } = await openApiGateway();
      const port = Number(new URL(gateway.adminUrl as string).port);
      const [client, other] = [await RawClient.connect(port), await RawClient.connect(port)];
      cleanup.add(client);
      cleanup.add(other);
      client.send(act('/api/token', 'wrong').repeat(5));
      for (let i = 0; i < 5; i += 1) expect((await client.response()).status).toBe(401);
      return { client, other, api, one, gateway };
    }
  });
});

describe('the configuration that the admin API shows', () => {
  test('hides every secret, and where keys are kept', () => {
    const variables = parseEnv(readFileSync(new URL('../../.env.example', import.meta.url), 'utf8'));
    const secret = 'CONFIDENTIAL-0123456789-abcdefghijklmnopqrstuvwxyz';
    const config = readConfig({
      ...variables,
      LOAD_BALANCING: 'sticky',
      STICKY_SECRET: secret,
      ADMIN_TOKEN: secret,
      REDIS_URL: `rediss://user:${secret}@redis.example:6380/1`,
      HEALTH_CHECK_PATH: `/healthz?key=${secret}`,
      TLS_CERT: `/etc/${secret}.pem`,
      TLS_KEY: `/etc/${secret}.key`,
    });
    const shown = shownConfig(config);
    expect(JSON.stringify(shown)).not.toContain('CONFIDENTIAL');
    const values = Object.fromEntries(shown.map(({ name, value }) => [name, value]));
    expect(values).toMatchObject({
      REDIS_URL: 'rediss://***@redis.example:6380/1',
      LOAD_BALANCING: 'sticky',
      STICKY_SECRET: 'set, not shown',
      ADMIN_TOKEN: 'set, not shown',
      HEALTH_CHECK_PATH: '/healthz?***',
      RATE_LIMIT_MAX: '100',
      TLS_KEY: 'set, not shown',
      BACKEND_KEY: 'not set',
    });
  });

  test('shows weights, and several hosts of one Redis URL', () => {
    const config = readConfig({
      BACKENDS: 'http://a;weight=3;keepAlive=false,http://b',
      REDIS_URL: 'redis+cluster://u:p@a:1,v:q@b:2',
    });
    const values = Object.fromEntries(shownConfig(config).map(({ name, value }) => [name, value]));
    expect(values).toMatchObject({
      BACKENDS: 'http://a;weight=3;keepAlive=false,http://b',
      REDIS_URL: 'redis+cluster://***@b:2',
    });
  });

  test('says which values are defaults, and leaves out what GATEWAY_CONFIG says instead', () => {
    const plain = readConfig({ IDLE_TIMEOUT_MS: '7' });
    expect(shownConfig(plain)).toContainEqual({ name: 'IDLE_TIMEOUT_MS', value: '7', isDefault: false });
    expect(shownConfig(plain)).toContainEqual({ name: 'RATE_LIMIT_MAX', value: '100', isDefault: true });
    const declaration = { services: { users: { backends: ['http://a'] } }, routes: [{ service: 'users' }] };
    const routed = shownConfig({ ...readConfig({ GATEWAY_CONFIG: 'gateway.yaml' }), declaration } as never);
    expect(routed).toContainEqual({
      name: 'GATEWAY_CONFIG',
      value: 'gateway.yaml (1 route to users)',
      isDefault: false,
    });
    expect(routed.map(({ name }) => name)).not.toContain('IDLE_TIMEOUT_MS');
    expect(routed.map(({ name }) => name)).toContain('PORT');
  });
});
