import type { Server } from 'node:http';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { type AdminView, createAdminServer, type Phase } from '../../example-gateway/admin.ts';
import { listen } from '../../example-gateway/listener.ts';
import { ask } from './ask.ts';

class FakeView implements AdminView {
  phase: Phase = 'running';

  status(): object {
    return { phase: this.phase, backends: [] };
  }
}

let view: FakeView;
let server: Server;
let url: string;

beforeEach(async () => {
  view = new FakeView();
  server = createAdminServer(view);
  url = await listen(server, 'admin listener', { host: '127.0.0.1', port: 0 });
});

afterEach(() => {
  server.close();
  server.closeAllConnections();
});

describe('the admin listener', () => {
  test.each([
    ['starting', 503],
    ['running', 200],
    ['stopping', 503],
  ] as const)('while %s: alive, and /readyz says %d', async (phase, ready) => {
    view.phase = phase;
    expect(await ask(`${url}/livez`)).toMatchObject({ status: 200, json: { status: 'alive' } });
    expect(await ask(`${url}/readyz`)).toMatchObject({ status: ready, json: { status: phase } });
  });

  test('/status shows what the gateway knows, and nothing may keep it', async () => {
    const answer = await ask(`${url}/status?x=1`);
    expect(answer).toMatchObject({ status: 200, json: { phase: 'running', backends: [] } });
    expect(answer.headers).toMatchObject({ 'content-type': 'application/json', 'cache-control': 'no-store' });
  });

  test('HEAD gets the head of GET', async () => {
    const head = await ask(`${url}/status`, { method: 'HEAD' });
    const get = await ask(`${url}/status`);
    expect(head).toMatchObject({ status: 200, text: '' });
    expect(head.headers['content-length']).toBe(get.headers['content-length']);
  });

  test.each(['/', '/statuses', '/status/', '/constructor', '/__proto__', '//livez'])(
    '%s is not found',
    async (path) => {
      const answer = await ask(url + path);
      expect(answer).toMatchObject({ status: 404, json: { status: 404, title: 'Not found' } });
      expect(answer.headers['content-type']).toBe('application/problem+json');
    },
  );

  test.each(['POST', 'PUT', 'DELETE', 'OPTIONS'])('%s is not allowed', async (method) => {
    const answer = await ask(`${url}/livez`, { method });
    expect(answer).toMatchObject({ status: 405, json: { status: 405 } });
    expect(answer.headers.allow).toBe('GET, HEAD');
  });
});
