import type { IncomingMessage } from 'node:http';
import { PassThrough } from 'node:stream';
import { expect, test } from '@jest/globals';
import type { Backend } from '../../../lib/backends/backend.ts';
import type { Exchange } from '../../../lib/core/exchange.ts';
import { RequestCopy } from '../../../lib/proxy/mirror/request-copy.ts';
import type { RequestHead } from '../../../lib/proxy/request/request-head.ts';

test('a copy that cannot be dispatched has failed, and the request that it copies goes on', () => {
  const req = Object.assign(new PassThrough(), { method: 'GET' }) as unknown as IncomingMessage;
  const error = new Error('no such method');
  const connections = {
    dispatch() {
      throw error;
    },
  };
  const ended: unknown[] = [];
  const copy = new RequestCopy(
    { req } as Exchange,
    {} as Backend,
    { path: '/', fields: [] as readonly string[] } as RequestHead,
    { maxBodyBytes: 1, maxInFlight: 1, timeoutMs: 1_000 } as never,
    { begins: () => connections as never, ended: (_copy, result, why) => ended.push(result, why) },
  );
  copy.send(undefined);
  expect(ended).toEqual(['failed', error]);
  expect(req.destroyed).toBe(false);
});
