import { afterEach, expect, test } from '@jest/globals';
import { readConfig } from '../../lib/gateway/config/config.ts';
import type { LogLevel } from '../../lib/gateway/config/sections/operation-variables.ts';
import { createLogger } from '../../lib/gateway/logging/logger.ts';
import { startGateway } from '../../lib/gateway/start-gateway.ts';
import { ask } from '../support/ask.ts';
import { closeAll, openBackend } from './gateways.ts';
import { until } from './until.ts';

const closers: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const close of closers.splice(0)) await close();
  await closeAll();
});

async function open(env: Record<string, string>, level: LogLevel) {
  const one = await openBackend('one');
  const logged: string[] = [];
  const written: string[] = [];
  const config = readConfig({ HOST: '127.0.0.1', PORT: '0', ADMIN_PORT: '', BACKENDS: one.url, ...env });
  const log = createLogger(level, (line) => logged.push(line));
  const lines = { write: (line: string) => void written.push(line), dropped: 0 };
  const gateway = await startGateway(config, { log, lines });
  closers.push(() => gateway.close());
  return { url: gateway.url, logged, written };
}

test('ACCESS_LOG=json writes a log line at every level, for refused requests too', async () => {
  const { url, logged } = await open({ ACCESS_LOG: 'json', RATE_LIMIT_MAX: '1', SERVER_TIMING: 'on' }, 'error');
  const { headers } = await ask(`${url}/a?key=geheim`);
  await ask(`${url}/a%5cb`);
  await ask(url);
  await until(() => logged.length === 3);
  const lines = logged.map((line) => JSON.parse(line));
  expect(lines[0]).toMatchObject({
    level: 'info',
    msg: 'request',
    id: headers['x-request-id'],
    target: '/a?key=***',
    status: 200,
  });
  expect(lines.slice(1).map(({ status, cause }) => `${status} ${cause}`)).toEqual([
    '400 bad_request',
    '429 rate_limited',
  ]);
  expect(lines[1].detail).toBe(
    'The path has a backslash, which servers read in different ways (ambiguousPaths, AMBIGUOUS_PATHS).',
  );
  expect(headers['server-timing']).toMatch(/^gateway;dur=/);
});

test('REDACT masks additional parameters; a trusted proxy cannot forge a line', async () => {
  const env = { ACCESS_LOG: 'combined', REDACT: 'user_email, *phone*', TRUST_PROXY: 'loopback' };
  const { url, written } = await open(env, 'error');
  const forged = '1.2.3.4 - - [04/Nov/2026:05:06:07 +0000] "GET /admin HTTP/1.1" 200 1 "-" "-"';
  await ask(`${url}/a?user[password]=geheim&userEmail=geheim&user[email]=geheim&homePhone=geheim&q=1`, {
    headers: { 'X-Forwarded-For': forged },
  });
  await ask(url, { headers: { 'X-Forwarded-For': 'x'.repeat(9_000) } });
  await until(() => written.length === 2);
  expect(written[0]).toMatch(
    /^1\.2\.3\.4\\u0020-\\u0020-\S+ - - \[[^\]]+\] "GET \/a\?user\[password\]=\*\*\*&userEmail=\*\*\*&user\[email\]=\*\*\*&homePhone=\*\*\*&q=1 HTTP\/1\.1" 200 /,
  );
  expect(written.join('')).not.toContain('geheim');
  expect(written[1]?.length).toBeLessThan(1_000);
});

test('a request that Node cannot parse has an access log line', async () => {
  const { url, logged } = await open({ ACCESS_LOG: 'json' }, 'error');
  const { status } = await ask(url, { headers: { 'X-Long': 'x'.repeat(20_000) } });
  await until(() => logged.length === 1);
  expect([status, JSON.parse(logged[0] as string)]).toEqual([
    431,
    {
      level: 'info',
      time: expect.any(String),
      client: '127.0.0.1',
      status: 431,
      source: 'gateway',
      cause: 'head_too_large',
      msg: 'client refused',
    },
  ]);
});

test('ACCESS_LOG=combined writes plain lines, ACCESS_LOG=off none', async () => {
  const { url, written, logged } = await open({ ACCESS_LOG: 'combined' }, 'error');
  await ask(url, { headers: { 'User-Agent': 'me' } });
  await until(() => written.length === 1);
  expect(written[0]).toMatch(/^127\.0\.0\.1 - - \[.+\] "GET \/ HTTP\/1\.1" 200 \d+ "-" "me"\n$/);
  expect(logged).toEqual([]);

  const off = await open({}, 'info');
  await ask(off.url);
  await ask(off.url);
  expect([off.written.length, off.logged.filter((line) => line.includes('"request"')).length]).toEqual([0, 0]);
});
