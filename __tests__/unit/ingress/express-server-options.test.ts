import { createServer, IncomingMessage, type Server, ServerResponse } from 'node:http';
import { afterEach, describe, expect, test } from '@jest/globals';
import express, { type Request, type Response } from 'express';
import { expressServerOptions } from '../../../lib/ingress/express-server-options.ts';
import { EXPRESS_VERSIONS } from '../../support/express-versions.ts';
import { Cleanup } from '../../support/gateway.ts';
import { RawClient } from '../../support/raw-client.ts';
import { listen } from '../../support/servers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

describe.each(EXPRESS_VERSIONS)('expressServerOptions() in %s', (_name, create) => {
  async function serve(app: express.Express, server: Server = createServer(expressServerOptions(app), app)) {
    return cleanup.add(await listen(app, server));
  }

  test('requests and responses are created with the prototypes of Express', async () => {
    const app = create();
    const server = createServer(expressServerOptions(app));
    const changed: boolean[] = [];
    server.on('request', (req: Request, res: Response) => {
      const before = [Object.getPrototypeOf(req), Object.getPrototypeOf(res)];
      app(req, res);
      changed.push(before[0] !== Object.getPrototypeOf(req), before[1] !== Object.getPrototypeOf(res));
    });
    app.use((req, res) => {
      res.json([
        req instanceof IncomingMessage,
        res instanceof ServerResponse,
        req.app === app,
        req.path,
        req.get('X-A'),
      ]);
    });
    const { url } = await serve(app, server);
    const answer = await fetch(`${url}/a?b`, { headers: { 'X-A': 'c' } });
    expect(answer.headers.get('content-type')).toMatch(/^application\/json/);
    expect(await answer.json()).toEqual([true, true, true, '/a', 'c']);
    expect(changed).toEqual([false, false]);
  });

  test('without the options their prototypes are changed, so that the test above can fail', async () => {
    const app = create();
    app.use((_req, res) => res.end());
    const prototypes = new Set<unknown>();
    const server = createServer((req, res) => {
      prototypes.add(Object.getPrototypeOf(req));
      app(req, res);
      prototypes.add(Object.getPrototypeOf(req));
    });
    const { url } = await serve(app, server);
    await fetch(url);
    expect(prototypes.size).toBe(2);
  });

  test('requests have the properties that an app adds later, and in a mounted app those of that app', async () => {
    const [outer, inner] = [create(), create()];
    Object.assign(inner.request, { who: () => 'inner' });
    inner.get('/', (req, res) => res.json((req as unknown as { who(): string }).who()));
    outer.use('/inner', inner);
    outer.get('/', (req, res) => res.json((req as unknown as { who(): string }).who()));
    const { url } = await serve(outer);
    Object.assign(outer.request, { who: () => 'outer' });
    expect(await (await fetch(url)).json()).toBe('outer');
    expect(await (await fetch(`${url}/inner`)).json()).toBe('inner');
    expect(await (await fetch(url)).json()).toBe('outer');
  });

  test('content, kept connections and errors work as without the options', async () => {
    const app = create();
    app.use(express.text({ type: '*/*' }));
    app.post('/', (req, res) => res.send(`got ${req.body}`));
    app.get('/throw', () => {
      throw new Error('on purpose');
    });
    app.use((_error: unknown, _req: Request, res: Response, _next: () => void) => res.status(500).send('failed'));
    const { port } = await serve(app);
    const client = await RawClient.connect(port);
    cleanup.add({ close: async () => void client.socket.destroy() });
    for (const content of ['one', 'two']) {
      client.send(`POST / HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\n${content}`);
      expect(String((await client.response()).content)).toBe(`got ${content}`);
    }
    client.send('GET /throw HTTP/1.1\r\nHost: a\r\n\r\n');
    expect(await client.response()).toMatchObject({ status: 500, content: Buffer.from('failed') });
  });
});
