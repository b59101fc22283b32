import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, jest, test } from '@jest/globals';
import express from 'express';
import { type ServiceRouterOptions, serviceRouter } from '../../lib/index.ts';
import { eventually, listen } from '../support/servers.ts';

const open: { close(): Promise<void> }[] = [];

afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.close();
});

async function backend(text: string): Promise<string> {
  const server = await listen((_req, res) => res.end(text));
  open.push(server);
  return server.url;
}

async function gateway(options: ServiceRouterOptions) {
  const router = serviceRouter(options);
  open.push(router);
  const server = await listen(express().use(router));
  open.push(server);
  return { router, url: server.url };
}

describe('a request that waits for authentication', () => {
  /** An authenticator whose answers are given by hand. */
  function slowAuthentication() {
    const waiting: (() => void)[] = [];
    const keys = () => new Promise<{ name: string }>((resolve) => waiting.push(() => resolve({ name: 'acme' })));
    return { waiting, authentication: { apiKey: { keys } } };
  }

  test('gets the service of its route, although a new declaration has removed it meanwhile', async () => {
    const { waiting, authentication } = slowAuthentication();
    const [old, now] = [await backend('old'), await backend('new')];
    const gw = await gateway({
      services: { old: { backends: [old] } },
      routes: [{ service: 'old', authentication, rateLimit: { limit: '5/1m', key: 'consumer' } }],
    });
    const removed = gw.router.services.get('old');
    const responses = [1, 2].map(() => fetch(gw.url, { headers: { 'x-api-key': 'k' } }));
    await eventually('both wait', () => waiting.length === 2);
    gw.router.setDeclaration({ services: { now: { backends: [now] } }, routes: [{ service: 'now' }] });
    gw.router.setDeclaration({ services: { last: { backends: [now] } }, routes: [{ service: 'last' }] });
    expect(await (await fetch(gw.url)).text()).toBe('new');
    for (const go of waiting) go();
    for (const response of responses) expect(await (await response).text()).toBe('old');
    await eventually('the removed service is closed', async () => {
      try {
        removed?.setBackends([old]);
        return false;
      } catch {
        return true;
      }
    });
  });

  test('gets it as well when a declaration in between had kept the service', async () => {
    const { waiting, authentication } = slowAuthentication();
    const services = { old: { backends: [await backend('old')] } };
    const routes = [{ service: 'old', authentication }];
    const gw = await gateway({ services, routes });
    const response = fetch(gw.url, { headers: { 'x-api-key': 'k' } });
    await eventually('it waits', () => waiting.length === 1);
    gw.router.setDeclaration({ services, routes: [...routes, { path: '/more', respond: {} }] });
    gw.router.setDeclaration({ services: {}, routes: [{ respond: {} }] });
    await new Promise(setImmediate);
    for (const go of waiting) go();
    expect(await (await response).text()).toBe('old');
  });

  test('gets 503 when the router was closed meanwhile, the removed service included', async () => {
    const { waiting, authentication } = slowAuthentication();
    const url = await backend('a');
    const gw = await gateway({ services: { a: { backends: [url] } }, routes: [{ service: 'a', authentication }] });
    const removed = gw.router.services.get('a');
    const response = fetch(gw.url, { headers: { 'x-api-key': 'k' } });
    await eventually('it waits', () => waiting.length === 1);
    gw.router.setDeclaration({ services: {}, routes: [{ respond: {} }] });
    await gw.router.close();
    expect(() => removed?.setBackends([url])).toThrow(/closed/);
    for (const go of waiting) go();
    expect((await response).status).toBe(503);
  });
});

test('a closed router takes no new declaration: it would start parts that are never closed', async () => {
  const { router } = await gateway({ services: {}, routes: [{ respond: {} }] });
  await router.close();
  expect(() => router.setDeclaration({ services: {}, routes: [{ respond: {} }] })).toThrow(
    expect.objectContaining({ code: 'ERR_EXPRESSWAY_CLOSED' }) as never,
  );
});

test('many new limits while requests come are no mistake, with one file of keys for all', async () => {
  const path = join(mkdtempSync(join(tmpdir(), 'keys-')), 'keys.json');
  writeFileSync(path, '[]');
  const declaration = (round: number): ServiceRouterOptions => ({
    services: {},
    routes: Array.from({ length: 30 }, (_, index) => ({
      path: `/${index}`,
      name: `${round} ${index}`,
      respond: {},
      rateLimit: '5/1m',
      authentication: { apiKey: { keys: path } },
    })),
  });
  const warn = jest.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
  try {
    const gw = await gateway(declaration(0));
    for (let round = 1; round <= 3; round += 1) {
      gw.router.setDeclaration(declaration(round));
      for (let index = 0; index < 30; index += 1) expect((await fetch(`${gw.url}/${index}`)).status).toBe(401);
    }
    expect(warn.mock.calls).toEqual([]);
  } finally {
    warn.mockRestore();
  }
});
