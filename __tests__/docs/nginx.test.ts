import type { IncomingMessage } from 'node:http';
import { request } from 'node:http';
import { text } from 'node:stream/consumers';
import { afterEach, expect, test } from '@jest/globals';
import express from 'express';
import { serviceRouter, upgradeHandler } from 'expressway';
import { WebSocket, WebSocketServer } from 'ws';
import { parse } from 'yaml';
import { versionOf } from '../differential/reference-proxy.ts';
import { Cleanup } from '../support/gateway.ts';
import { listen } from '../support/servers.ts';
import { startNginx } from './nginx.ts';
import { blocksOf } from './pages.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const version = versionOf('nginx');
if (version === undefined) process.stdout.write('skipped, there is no nginx: docs/nginx.md\n');

const blockOf = (wanted: string) => blocksOf('docs/nginx.md').find(({ language }) => language === wanted)?.code ?? '';

/** Five backends that say what they were asked for; the last one decides about clients. */
async function startBackends(): Promise<number[]> {
  const names = ['users', 'users', 'chat1', 'chat2', 'sso'];
  const servers = names.map(async (name) => {
    const server = cleanup.add(
      await listen((req, res) => {
        if (name === 'users') res.setHeader('X-Powered-By', 'backend');
        if (name === 'sso') res.writeHead(req.headers.authorization === 'good' ? 200 : 401, { 'X-User': 'ann' }).end();
        else if (req.url?.endsWith('/moved'))
          res.writeHead(302, { Location: `http://${req.headers.host}/v1/login` }).end();
        else if (req.url?.endsWith('/fails')) res.writeHead(503).end('of the backend');
        else void answer(name, req).then((said) => res.end(said));
      }),
    );
    const sockets = new WebSocketServer({ server: server.server });
    sockets.on('connection', (socket, { url }) => socket.send(`${name} ${url}`));
    return Number(new URL(server.url).port);
  });
  return Promise.all(servers);
}

async function answer(name: string, req: IncomingMessage): Promise<string> {
  const {
    host,
    'x-user': user,
    'x-real-ip': ip,
    'x-forwarded-for': forwarded,
    'x-forwarded-proto': scheme,
  } = req.headers;
  const content = await text(req);
  return JSON.stringify({
    name,
    method: req.method,
    url: req.url,
    host,
    user,
    ip,
    forwarded,
    scheme,
    length: content.length,
  });
}

/** nginx hashes in another way, so it may choose the other one. */
const chatOf = (text: string) => text.replace(/chat\d/, 'chat');

interface Asked {
  readonly path: string;
  readonly method?: string;
  readonly headers?: Record<string, string>;
  readonly body?: string;
}

async function ask(port: number, { path, body, ...options }: Asked) {
  const headers = { host: 'example.test', ...options.headers };
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    request({ port, path, agent: false, ...options, headers }, resolve)
      .on('error', reject)
      .end(body);
  });
  const content = await text(response);
  const { location, 'x-powered-by': poweredBy } = response.headers;
  // Bodies that nginx and the gateway make themselves differ.
  return {
    status: response.statusCode,
    location,
    poweredBy,
    content: response.statusCode === 200 ? chatOf(content) : '',
  };
}

const REQUESTS: Record<string, Asked> = {
  'path and query': { path: '/a/b?c=d&e=%2F' },
  'encoded characters': { path: '/a%20b/%C3%A4/x%2Fy' },
  'a trailing slash': { path: '/a/' },
  'a forged address': { path: '/', headers: { 'x-real-ip': '198.51.100.7', 'x-forwarded-for': '198.51.100.7' } },
  HEAD: { path: '/a', method: 'HEAD' },
  POST: { path: '/a', method: 'POST', body: 'content' },
  'another prefix': { path: '/api/users/1?a=b' },
  'another prefix, alone': { path: '/api/' },
  'a longer exact path': { path: '/login/x' },
  'a body over the limit': { path: '/a', method: 'POST', body: 'a'.repeat(1_048_577) },
  'a body over the limit of other paths': { path: '/upload', method: 'POST', body: 'a'.repeat(1_048_577) },
  'the path for events': { path: '/events' },
  'a hash of a cookie': { path: '/chat' },
  'a client that is not known': { path: '/private/a' },
  'a known client with a forged name': { path: '/private/a', headers: { authorization: 'good', 'x-user': 'root' } },
  'an address that is not allowed': { path: '/admin/' },
  'a fixed response': { path: '/health' },
  'every backend fails': { path: '/fails' },
  'every backend fails a POST': { path: '/fails', method: 'POST', body: 'a' },
};

(version === undefined ? test.skip : test)('docs/nginx.md: the same requests get the same responses', async () => {
  const ports = await startBackends();
  const atBackends = (code: string) =>
    code.replaceAll(/localhost:808(\d)/g, (_, digit) => `127.0.0.1:${ports[Number(digit) - 1]}`);
  const nginx = cleanup.add(await startNginx(atBackends(blockOf('nginx'))));
  const router = cleanup.add(serviceRouter(parse(atBackends(blockOf('yaml')))));
  const gateway = cleanup.add(await listen(express().disable('x-powered-by').use(router)));
  gateway.server.on('upgrade', upgradeHandler(express().use(router)));
  const here = Number(new URL(gateway.url).port);

  const both = async (asked: Asked) => Promise.all([nginx.port, here].map((port) => ask(port, asked)));
  const differences: Record<string, unknown> = {};
  for (const [name, asked] of Object.entries(REQUESTS)) {
    const [before, after] = await both(asked);
    if (JSON.stringify(before) !== JSON.stringify(after)) differences[name] = { before, after };
  }
  expect(differences).toEqual({});

  const statuses = async (port: number) => {
    const all = Array.from({ length: 6 }, () => ask(port, { path: '/login' }));
    return (await Promise.all(all)).map(({ status }) => status).toSorted();
  };
  expect(await statuses(here)).toEqual(await statuses(nginx.port));

  const said = (port: number) =>
    new Promise((resolve, reject) => {
      const socket = new WebSocket(`ws://127.0.0.1:${port}/chat?a=b`, { headers: { cookie: 'room=1' } });
      socket.once('message', (data) => {
        socket.close();
        resolve(chatOf(String(data)));
      });
      socket.once('error', reject);
    });
  expect([await said(nginx.port), await said(here)]).toEqual(Array(2).fill('chat /chat?a=b'));

  const moved = await both({ path: '/api/moved' });
  expect(moved.map(({ location }) => location)).toEqual(
    ['v1', 'api'].map((prefix) => `http://example.test/${prefix}/login`),
  );

  const [before, after] = await both({ path: '/old/a?b=c' });
  // nginx names the port at which it listens.
  expect(before?.location?.replace(/:\d+/, '')).toBe('http://example.test/new/old/a?b=c');
  expect(after?.location).toBe('http://example.test/new/old/a?b=c');
});
