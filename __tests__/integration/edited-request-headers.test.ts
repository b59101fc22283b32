import { afterEach, describe, expect, test } from '@jest/globals';
import type { Request } from 'express';
import { jwtAuth } from 'expressway';
import { SignJWT } from 'jose';
import { Cleanup, proxyGateway } from '../support/gateway.ts';
import { rawRequest } from '../support/raw-client.ts';
import { RecorderBackend } from '../support/recorder-backend.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

type Edit = (headers: Request['headers']) => void;

/** What a backend gets when a middleware has edited the headers of a request. */
async function forwarded(sent: readonly string[], edit: Edit, trusts: boolean) {
  const backend = cleanup.add(await RecorderBackend.start());
  const gateway = await proxyGateway({ backends: [backend.url], identityHeaders: ['x-corp-*'] }, (app) => {
    app.set('trust proxy', trusts);
    app.use((req, _res, next) => {
      edit(req.headers);
      next();
    });
  });
  const { port } = cleanup.add(gateway);
  expect((await rawRequest(port, `GET / HTTP/1.1\r\n${['Host: a', ...sent].join('\r\n')}\r\n\r\n`)).status).toBe(200);
  return (name: string) => backend.requests[0]?.all(name) ?? [];
}

/** Each of them makes the proxy look at all headers more closely. */
const EDITS: readonly [string, Edit][] = [
  ['nothing', () => {}],
  [
    'adds a header',
    (headers) => {
      headers['x-added'] = '1';
    },
  ],
  [
    'adds one in capital letters',
    (headers) => {
      headers['X-Added'] = '1';
    },
  ],
  [
    'adds a list',
    (headers) => {
      headers['x-added'] = ['1', '2'];
    },
  ],
  [
    'deletes a header',
    (headers) => {
      delete headers['x-gone'];
    },
  ],
  [
    'changes a header',
    (headers) => {
      headers['x-gone'] = 'changed';
    },
  ],
];

describe.each(EDITS)('a middleware that does this to req.headers: %s', (_name, edit) => {
  const IDENTITY = ['X-Real-IP: 9.9.9.9', 'X-Corp-User: evil', 'X_Corp_User: evil', 'Remote-User: evil'];

  test('does not let identity headers of an untrusted client through', async () => {
    const all = await forwarded([...IDENTITY, 'X-Gone: a', 'Cookie: a=1', 'Cookie: b=2', 'X-A: 1'], edit, false);
    for (const field of IDENTITY) expect([field, all(field.split(':')[0]?.toLowerCase() ?? '')]).toEqual([field, []]);
    expect([all('x-a'), all('cookie')]).toEqual([['1'], ['a=1; b=2']]);
  });

  test('keeps those of a trusted proxy', async () => {
    const all = await forwarded(['X-Corp-User: alice', 'X-Gone: a', 'X-A: 1', 'X-A: 2'], edit, true);
    expect([all('x-corp-user'), all('x-a').join(', ')]).toEqual([['alice'], '1, 2']);
  });

  test('keeps those that a middleware writes', async () => {
    const write: Edit = (headers) => {
      edit(headers);
      headers['x-corp-user'] = 'alice';
    };
    const all = await forwarded(['X-Corp-User: evil', 'X-Gone: a', 'X-Twice: 1', 'X-Twice: 2'], write, false);
    expect(all('x-corp-user')).toEqual(['alice']);
  });
});

test.each<[string, (lines: string[]) => unknown, string[]]>([
  [
    'changed one line',
    (lines) => {
      lines[1] = 'b=changed';
    },
    ['a=1', 'b=changed'],
  ],
  ['removed the last line', (lines) => lines.pop(), ['a=1']],
])('a list of which a middleware %s arrives as the middleware left it', async (_what, change, expected) => {
  const edit: Edit = (headers) => void change(headers['set-cookie'] as string[]);
  const all = await forwarded(['Set-Cookie: a=1', 'Set-Cookie: b=2'], edit, false);
  expect(all('set-cookie')).toEqual(expected);
});

test('identity headers of a client do not pass beside those that an authentication writes', async () => {
  const secret = 'a shared secret of at least 32 characters';
  const signed = new SignJWT({ sub: 'alice', exp: Math.floor(Date.now() / 1_000) + 60 }).setProtectedHeader({
    alg: 'HS256',
  });
  const token = await signed.sign(new TextEncoder().encode(secret));
  const backend = cleanup.add(await RecorderBackend.start());
  const gateway = await proxyGateway({ backends: [backend.url], identityHeaders: ['x-corp-*'] }, (app) => {
    app.use(jwtAuth({ secret, claimHeaders: { 'x-corp-user': 'sub' } }));
  });
  const { port } = cleanup.add(gateway);
  const lines = ['Host: a', `Authorization: Bearer ${token}`, 'X-Real-IP: 9.9.9.9', 'X-Corp-Role: admin', 'X-A: 1'];
  expect((await rawRequest(port, `GET / HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`)).status).toBe(200);
  const all = (name: string) => backend.requests[0]?.all(name);
  expect(['x-corp-user', 'x-real-ip', 'x-corp-role', 'x-a'].map(all)).toEqual([['alice'], [], [], ['1']]);
});
