import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, test } from '@jest/globals';
import { closeAll, openBackend } from '../gateway/gateways.ts';
import { endAll, Proc } from '../gateway/proc.ts';
import { until } from '../gateway/until.ts';
import { ask } from '../support/ask.ts';
import { ExampleProject } from './example-project.ts';
import { BLOCKS } from './pages.ts';

let project: ExampleProject;

afterEach(async () => {
  await endAll();
  await closeAll();
  project.close();
});

/** The program of docs/hosting.md in a process of its own, with a `.env` file that SIGHUP reads again. */
async function start(name: string, env: Readonly<Record<string, string>>) {
  const block = BLOCKS.find(({ run }) => run === name);
  if (block === undefined) throw new Error(`no page has a program ${name}`);
  project = new ExampleProject();
  const script = project.write('server.ts', block.code);
  const proc = new Proc(script, { HOST: '127.0.0.1', PORT: '0', ADMIN_PORT: '0', ...env }, [], project.folder);
  const url = await proc.said(/"url":"([^"]+)"/);
  return { proc, url, adminUrl: await proc.said(/"adminUrl":"([^"]+)"/) };
}

test.each(['1', '2'])(
  'an app with its own authentication has page, metrics and reload, with WORKERS=%s',
  async (WORKERS) => {
    const backend = await openBackend('one');
    const { proc, url, adminUrl } = await start('own-app', { WORKERS, BACKENDS: backend.url });
    expect((await ask(url)).status).toBe(401);
    const headers = { 'x-api-key': 'key-of-ann', 'x-user': 'root' };
    const answer = await ask(url, { headers });
    expect([answer.status, answer.json.headers['x-user']]).toEqual([200, 'ann']);
    const { json } = await ask(`${adminUrl}/api/status`);
    expect([json.limiters[0].name, json.breakers[0].name, json.backends[0].backend]).toEqual([
      'ip',
      'route',
      backend.url,
    ]);
    expect((await ask(`${adminUrl}/metrics`)).text).toContain('expressway_requests_total{');
    expect((await ask(`${adminUrl}/`)).text).toContain('<title>');
    writeFileSync(join(project.folder, '.env'), 'RATE_LIMIT_MAX=1\n');
    proc.kill('SIGHUP');
    await proc.said(/"why":"SIGHUP".*"msg":"configuration reloaded"/);
    await until(async () => (await ask(url, { headers })).status === 429);
    proc.kill('SIGTERM');
    expect(await proc.exit()).toBe(0);
  },
);
