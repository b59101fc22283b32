import { request } from 'node:http';
import { afterEach, describe, expect, test } from '@jest/globals';
import { ask } from '../support/ask.ts';
import { closeAll, openBackend } from './gateways.ts';
import { endAll, Proc } from './proc.ts';

afterEach(async () => {
  await closeAll();
  await endAll();
});

describe('the echo backend', () => {
  test('responds with a description of the request', async () => {
    const { url } = await openBackend('one');
    const answer = await ask(`${url}/a/b?c=d`, { method: 'PUT', headers: { 'X-Some': 'thing' }, content: 'äh' });
    expect(answer).toMatchObject({
      status: 200,
      json: { backend: 'one', method: 'PUT', url: '/a/b?c=d', headers: { 'x-some': 'thing' }, bytes: 3 },
    });
  });

  test.each([
    ['/status/404', 404],
    ['/status/500', 500],
    ['/status/204', 204],
    ['/status/101', 200],
    ['/status/999', 200],
    ['/status/x', 200],
  ])('%s answers %d', async (path, status) => {
    const { url } = await openBackend('one');
    expect((await ask(url + path)).status).toBe(status);
  });

  test('responds with 500 after POST /fail?on=1, until on=0', async () => {
    const { url } = await openBackend('one');
    expect(await ask(`${url}/fail?on=1`, { method: 'POST' })).toMatchObject({ status: 200, json: { failing: true } });
    expect((await ask(url)).status).toBe(500);
    await ask(`${url}/fail?on=0`, { method: 'POST' });
    expect((await ask(url)).status).toBe(200);
  });

  test('survives a client that leaves before its slow response', async () => {
    const { url } = await openBackend('one');
    const req = request(`${url}/slow?ms=50`);
    req.on('error', () => {});
    req.end();
    await ask(`${url}/slow?ms=25`);
    req.destroy();
    expect(await ask(`${url}/slow?ms=100`)).toMatchObject({ status: 200 });
  });

  test('runs as a program until SIGTERM', async () => {
    const proc = new Proc('demo/demo-backend.ts', {}, ['--name', 'solo', '--port', '0']);
    const url = await proc.said(/^backend solo listens on (\S+), pid \d+\n/);
    expect((await ask(url)).json.backend).toBe('solo');
    proc.kill('SIGTERM');
    expect(await proc.exit()).toBe('SIGTERM');
  });

  test.each([
    [['--port', 'x'], /--port must be from 0 to 65535, got "x"/],
    [['--nonsense'], /--nonsense/],
  ])('refuses %j and shows its usage', async (args, why) => {
    const proc = new Proc('demo/demo-backend.ts', {}, args);
    expect(await proc.exit()).toBe(1);
    expect(proc.stderr).toMatch(why);
    expect(proc.stderr).toMatch(/^Usage: /m);
  });
});
