import type { IncomingMessage, ServerResponse } from 'node:http';
import { request } from 'node:http';
import { Writable } from 'node:stream';
import { afterEach, describe, expect, test } from '@jest/globals';
import { Cleanup, proxyGateway } from '../support/gateway.ts';
import { RawClient } from '../support/raw-client.ts';
import { answerOk, RecorderBackend } from '../support/recorder-backend.ts';
import { closedPort, eventually, listen } from '../support/servers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

/** More than the gateway and two socket buffers hold. */
const LENGTH = 48 * 1_048_576;

/** The other end of `req.pipe()` in a middleware: it takes bytes at its own pace. */
class Meter extends Writable {
  taken = 0;
  most = 0;
  isHeld = false;
  #release: (() => void) | undefined;

  override _write(chunk: Buffer, _encoding: string, callback: () => void): void {
    this.taken += chunk.length;
    this.most = Math.max(this.most, this.writableLength);
    if (this.isHeld) this.#release = callback;
    else setImmediate(callback);
  }

  go(): void {
    this.isHeld = false;
    this.#release?.();
  }
}

async function upload(isHeld: boolean) {
  const arrived: { req: IncomingMessage; res: ServerResponse }[] = [];
  const backend = cleanup.add(await listen((req, res) => void arrived.push({ req, res })));
  const meter = new Meter();
  meter.isHeld = isHeld;
  const gateway = await proxyGateway({ backends: [backend.url], maxBodyBytes: 0 }, (app) => {
    app.use((req, _res, next) => {
      req.pipe(meter);
      next();
    });
  });
  const { port } = cleanup.add(gateway);
  const client = request({ port, host: '127.0.0.1', method: 'POST', headers: { 'content-length': LENGTH } });
  const status = new Promise<number | undefined>((resolve, reject) => {
    client.on('response', (res) => resolve(res.resume().statusCode)).on('error', reject);
  });
  client.end(Buffer.alloc(LENGTH));
  await eventually('the backend is asked', () => arrived.length === 1);
  const { req, res } = arrived[0] as (typeof arrived)[0];
  let received = 0;
  const read = () => {
    req.on('data', (chunk: Buffer) => {
      received += chunk.length;
    });
    req.on('end', () => res.end());
  };
  return { meter, status, read, received: () => received };
}

/** Until nothing has moved for many turns of the event loop. */
async function stands(count: () => number): Promise<number> {
  for (let before = -1, same = 0; same < 200; ) {
    await new Promise((resolve) => setImmediate(resolve));
    same = count() === before ? same + 1 : 0;
    before = count();
  }
  return count();
}

test('after failed attempts, the rest of the body is read for the pipe, and the connection goes on', async () => {
  const REST = 200_000;
  const backend = cleanup.add(await RecorderBackend.start((socket) => socket.resetAndDestroy()));
  const meter = new Meter();
  // The second attempt does not ask for the body.
  const backends = [backend.url, `http://127.0.0.1:${await closedPort()}`];
  const gateway = await proxyGateway({ backends }, (app) => {
    app.put('/', (req, _res, next) => {
      req.pipe(meter);
      next();
    });
  });
  const client = cleanup.add(await RawClient.connect(cleanup.add(gateway).port));
  client.send(`PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: ${REST + 1}\r\n\r\nx`);
  expect((await client.response()).status).toBe(502);
  backend.script = answerOk;
  client.send(`${'x'.repeat(REST)}GET / HTTP/1.1\r\nHost: a\r\n\r\n`);
  expect((await client.response()).status).toBe(200);
  expect(meter.taken).toBe(REST + 1);
});

describe('a body that a middleware pipes elsewhere', () => {
  test('flows no faster than a slow backend takes it, and arrives as a whole', async () => {
    const { meter, status, read, received } = await upload(false);
    expect(await stands(() => meter.taken)).toBeLessThan(LENGTH);
    read();
    expect([await status, received(), meter.taken]).toEqual([200, LENGTH, LENGTH]);
  });

  test('flows no faster than a slow pipe takes it, which is not made to keep it', async () => {
    const { meter, status, read, received } = await upload(true);
    read();
    expect(await stands(received)).toBeLessThan(LENGTH);
    expect(meter.most).toBeLessThan(1_048_576);
    meter.go();
    expect([await status, received(), meter.taken]).toEqual([200, LENGTH, LENGTH]);
  });
});
