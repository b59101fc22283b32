import { afterEach, expect, jest, test } from '@jest/globals';
import express from 'express';
import { listen, type RunningServer } from '../support/servers.ts';

type Library = typeof import('expressway');

let server: RunningServer | undefined;
afterEach(async () => {
  jest.restoreAllMocks();
  await server?.close();
});

/** As node_modules has it where two packages need different versions. */
async function copy(): Promise<Library> {
  jest.resetModules();
  return import('expressway');
}

test.each([
  ['of two copies', true, ['WARN_EXPRESSWAY_COPIES']],
  ['of one copy', false, []],
])('middlewares %s behind one server: what is warned of, once', async (_, hasTwo, codes) => {
  const warned = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
  const one = await copy();
  const other = hasTwo ? await copy() : one;
  expect(one.circuitBreaker === other.circuitBreaker).toBe(!hasTwo);
  const app = express();
  app.use(one.requestGuard(), other.circuitBreaker());
  app.get('/', (_req, res) => void res.send('done'));
  server = await listen(app);
  for (let i = 0; i < 2; i += 1) expect(await (await fetch(server.url)).text()).toBe('done');
  expect(warned.mock.calls.map(([, options]) => (options as { code?: string } | undefined)?.code)).toEqual(codes);
});
