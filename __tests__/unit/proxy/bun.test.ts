import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from '@jest/globals';

/** Calls a function in a process that says of itself that it is Bun. */
async function onBun(call: string): Promise<string> {
  const program = `
    Object.defineProperty(process, 'versions', { value: { ...process.versions, bun: '1.3.0' } });
    const { circuitBreaker, ipRateLimit, roundRobinProxy, undiciTransport } = await import('expressway');
    const { createProxyMiddleware } = await import('http-proxy-middleware');
    try {
      console.log(typeof ${call});
    } catch ({ code, message }) {
      console.log(code, message);
    }
    process.exit();`;
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ['--conditions=expressway-source', '--input-type=module', '--eval', program],
    { cwd: join(import.meta.dirname, '../../..') },
  );
  return stdout.trim();
}

test.each([
  "roundRobinProxy({ backends: ['http://127.0.0.1:1'] })",
  "createProxyMiddleware({ target: 'http://127.0.0.1:1', plugins: [undiciTransport()] })",
])('on Bun, %s says that it needs Node', async (call) => {
  expect(await onBun(call)).toMatch(/^ERR_EXPRESSWAY_RUNTIME the proxy does not run on Bun: run the app with Node/);
});

test.each(['ipRateLimit()', 'circuitBreaker()'])('on Bun, %s can be made', async (call) => {
  expect(await onBun(call)).toBe('function');
});
