import { expect, test } from '@jest/globals';
import { forwardAuth, jwtAuth } from 'expressway';
import { BLOCKED_PORTS } from '../../lib/auth/auth-checks.ts';

const makers: readonly [string, (url: string) => unknown][] = [
  ['forwardAuth', (url) => forwardAuth({ url })],
  ['jwtAuth', (jwksUrl) => jwtAuth({ jwksUrl })],
];

test.each(makers)('%s() refuses a URL with a port that fetch() never connects to, at construction', (_name, make) => {
  expect(() => make('http://auth.example:6000/check')).toThrow(
    /must have another port: fetch\(\) connects to no port 6000/,
  );
  for (const port of BLOCKED_PORTS) expect(() => make(`https://auth.example:${port}/`)).toThrow(`no port ${port}`);
  for (const url of ['http://auth.example:6001/', 'http://auth.example/', 'https://auth.example:80/']) make(url);
});

test('fetch() connects to no port of this list', async () => {
  for (const port of BLOCKED_PORTS) {
    const error = await fetch(`http://127.0.0.1:${port}/`).catch((cause: Error) => cause);
    expect([port, error]).toEqual([
      port,
      expect.objectContaining({ cause: expect.objectContaining({ message: 'bad port' }) }),
    ]);
  }
});
