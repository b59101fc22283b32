import { once } from 'node:events';
import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { type AdminView, createAdminServer, type Phase } from '../../lib/gateway/admin/admin-server.ts';
import { ADMIN, listen } from '../../lib/gateway/listener.ts';
import { ask } from '../support/ask.ts';
import { RawClient } from '../support/raw-client.ts';

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
  url = await listen(server, ADMIN, { host: '127.0.0.1', port: 0 });
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

  test('/status shows the state of the gateway, and may not be cached', async () => {
    const answer = await ask(`${url}/status?x=1`);
    expect(answer).toMatchObject({ status: 200, json: { phase: 'running', backends: [] } });
    expect(answer.headers).toMatchObject({ 'content-type': 'application/json', 'cache-control': 'no-store' });
  });

  test('HEAD gets the headers of GET', async () => {
    const head = await ask(`${url}/status`, { method: 'HEAD' });
    const get = await ask(`${url}/status`);
    expect(head).toMatchObject({ status: 200, text: '' });
    expect(head.headers['content-length']).toBe(get.headers['content-length']);
  });

  test.each(['/', '/api/status', '/statuses', '/status/', '/constructor', '/__proto__', '//livez'])(
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

  test.each([
    ['POST', '/livez', '127.0.0.1', 405],
    ['GET', '/livez', '127.0.0.1', 200],
    ['POST', '/none', '127.0.0.1', 404],
    ['POST', '/status', 'a.example', 403],
  ])('no reset overtakes the response to %s %s, though the client still sends', async (method, path, host, status) => {
    const accepted = once(server, 'connection');
    const client = await RawClient.connect(Number(new URL(url).port));
    const [socket] = (await accepted) as [Socket];
    const closed = once(socket, 'close');
    client.send(`${method} ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\nContent-Length: 100000\r\n\r\nx`);
    expect((await client.response()).status).toBe(status);
    client.socket.end('x'.repeat(99_999));
    await closed;
    expect(socket.bytesRead).toBeGreaterThan(100_000);
  });

  test('refuses requests for unknown host names (DNS rebinding)', async () => {
    const port = new URL(url).port;
    const as = async (host: string, path = '/status') => (await ask(url + path, { headers: { Host: host } })).status;
    for (const host of ['localhost', '127.0.0.1', '[::1]', 'gateway', 'a.localhost', 'gw.prod.internal', '10.0.0.7']) {
      expect([host, await as(`${host}:${port}`)]).toEqual([host, 200]);
      expect([host, await as(host)]).toEqual([host, 200]);
    }
    for (const host of [
      'evil.example',
      `evil.example:${port}`,
      '127.0.0.1.evil.example',
      'localhost.evil.example',
      'a@b',
    ]) {
      expect([host, await as(host)]).toEqual([host, 403]);
    }
    // Orchestrators ask these under any name, and they say nothing.
    expect(await as('evil.example', '/livez')).toBe(200);
  });

  test('accepts requests for the configured host name', async () => {
    const named = createAdminServer(view, { host: 'Gateway.Example' });
    const at = await listen(named, ADMIN, { host: '127.0.0.1', port: 0 });
    expect((await ask(`${at}/status`, { headers: { Host: 'gateway.example:9090' } })).status).toBe(200);
    expect((await ask(`${at}/status`, { headers: { Host: 'other.example' } })).status).toBe(403);
    named.close();
    named.closeAllConnections();
  });

  test('sends a Content-Security-Policy that allows its own files only', async () => {
    const { headers } = await ask(`${url}/status`);
    expect(String(headers['content-security-policy']).split('; ')).toEqual([
      "default-src 'none'",
      "script-src 'self'",
      "style-src 'self'",
      "img-src 'self'",
      "connect-src 'self'",
      "base-uri 'none'",
      "frame-ancestors 'none'",
      "form-action 'none'",
      "require-trusted-types-for 'script'",
      "trusted-types 'none'",
    ]);
    expect(headers).toMatchObject({
      'x-content-type-options': 'nosniff',
      'referrer-policy': 'no-referrer',
      'cross-origin-opener-policy': 'same-origin',
      'cross-origin-resource-policy': 'same-origin',
    });
  });
});
