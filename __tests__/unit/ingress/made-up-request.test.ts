import { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { PassThrough } from 'node:stream';
import { expect, test } from '@jest/globals';
import express from 'express';
import { requestGuard, roundRobinProxy } from 'expressway';
import { Cleanup } from '../../support/gateway.ts';

/** As serverless-http makes them: headers, and no raw headers. */
function madeUp(): [IncomingMessage, ServerResponse] {
  const req = new IncomingMessage(new PassThrough() as unknown as Socket);
  Object.assign(req, { httpVersion: '1.1', method: 'GET', url: '/x', headers: { host: 'gw.example' } });
  return [req, new ServerResponse(req)];
}

test.each(['requestGuard()', 'roundRobinProxy()'])(
  '%s passes a request that no server of Node made on as a coded error',
  async (name) => {
    const cleanup = new Cleanup();
    const app = express();
    app.use(
      name === 'requestGuard()' ? requestGuard() : cleanup.add(roundRobinProxy({ backends: ['http://127.0.0.1:1'] })),
    );
    const error = await new Promise((resolve) => {
      app.use(((failure, _req, _res, _next) => resolve(failure)) as express.ErrorRequestHandler);
      app(...(madeUp() as unknown as Parameters<typeof app>));
    });
    expect(error).toMatchObject({
      code: 'ERR_EXPRESSWAY_RUNTIME',
      message: expect.stringContaining('serverless-http'),
    });
    await cleanup.run();
  },
);
