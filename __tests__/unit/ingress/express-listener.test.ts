import { createServer } from 'node:http';
import { afterEach, describe, expect, jest, test } from '@jest/globals';
import express, { type NextFunction, type Request, type Response } from 'express';
import { compose, expressListener, expressServerOptions } from 'expressway';
import request from 'supertest';
import { EXPRESS_VERSIONS } from '../../support/express-versions.ts';
import { Cleanup } from '../../support/gateway.ts';
import { RawClient } from '../../support/raw-client.ts';
import { listen } from '../../support/servers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

type Handler = (req: Request, res: Response, next: NextFunction) => unknown;

const pass: Handler = (_req, _res, next) => next();

/** What a middleware of a chain may do with a request, and what the app does with it then. */
const CHAINS: Record<string, Handler[]> = {
  'of none': [],
  'that responds': [pass, (_req, res) => res.send('from the chain')],
  'that passes on': [pass, pass],
  'that passes on later': [(_req, _res, next) => setImmediate(next)],
  'that gives an error': [(_req, _res, next) => next(new Error('given'))],
  'that throws': [
    pass,
    () => {
      throw new Error('thrown');
    },
  ],
  'that is rejected': [() => Promise.reject(new Error('rejected'))],
  'that throws after it has passed on': [
    (_req, _res, next) => {
      next();
      throw new Error('thrown late');
    },
  ],
  'that leaves the router': [(_req, _res, next) => next('router')],
  'that passes on twice': [
    (_req, _res, next) => {
      next();
      next();
    },
  ],
  'that changes the URL': [
    (req, _res, next) => {
      req.url = '/changed?e=f';
      next();
    },
  ],
  'that responds by itself through Express': [(_req, res) => res.status(201).json({ ok: true })],
  'whose file is missing': [(_req, res) => res.sendFile('/does/not/exist')],
  'that shows what it sees': [
    (req, res) => {
      const { baseUrl, originalUrl, url, path, params, ip, route } = req;
      const seen = { baseUrl, originalUrl, url, path, params: { ...params }, ip, route, query: req.query };
      res.json({
        ...seen,
        locals: Object.keys(res.locals),
        same: [req.res === res, res.req === req, req.app === res.app],
      });
    },
  ],
  'that leaves something for the layers behind it': [
    (_req, res, next) => {
      res.locals.left = 'by the chain';
      next();
    },
  ],
  'with a chain in it': [compose(pass, pass) as never, pass],
};

describe.each(EXPRESS_VERSIONS)('expressListener() in %s', (_name, create) => {
  function appWith(mount: (app: express.Express) => void, layers: string[] = []) {
    const app = create().disable('x-powered-by');
    mount(app);
    app.use((req: Request, res: Response, next: NextFunction) => {
      layers.push(`${req.url} ${res.locals.left ?? ''}`);
      next();
    });
    app.get('/a/:id', (req: Request, res: Response) => {
      if (!res.headersSent) res.send(`the route got ${req.params.id} ${JSON.stringify(req.query)}`);
    });
    app.use((error: unknown, _req: Request, res: Response, next: NextFunction) => {
      layers.push(error instanceof Error ? error.message.replace(/ENOENT.*/, 'ENOENT') : String(error));
      if (res.headersSent) next(error);
      else res.status(500).send('the error handler');
    });
    return app;
  }

  test.each(Object.entries(CHAINS))('an app does the same with a chain %s', async (_what, handlers) => {
    const outcomes: unknown[] = [];
    for (const isFast of [false, true]) {
      const layers: string[] = [];
      const app = appWith((one) => void one.use(compose(...handlers)), layers);
      const server = isFast ? createServer(expressServerOptions(app), expressListener(app)) : createServer(app);
      const { status, headers, text } = await request(server).get('/a/b?c=d');
      outcomes.push({ status, type: headers['content-type'], text, layers });
    }
    expect(outcomes[1]).toEqual(outcomes[0]);
  });

  test.each<[string, (app: express.Express, chain: ReturnType<typeof compose>) => unknown]>([
    ['the chain is mounted at a path', (app, chain) => app.use('/a', chain)],
    ['another layer comes first', (app, chain) => app.use(pass, chain)],
    ['it is on a route', (app, chain) => app.get('/a/b', chain)],
    ['the app names Express in its responses', (app, chain) => app.enable('x-powered-by').use(chain)],
    ['it comes twice', (app, chain) => app.use(chain, chain)],
  ])('an app does the same where %s', async (_what, mount) => {
    const outcomes: unknown[] = [];
    for (const isFast of [false, true]) {
      const calls: string[] = [];
      const record: Handler = (req, _res, next) => {
        calls.push(`${req.baseUrl} ${req.url}`);
        next();
      };
      const app = appWith((one) => void mount(one, compose(record)));
      const { status, text, headers } = await request(isFast ? expressListener(app) : app).get('/a/b');
      outcomes.push({ status, text, calls, poweredBy: headers['x-powered-by'] });
    }
    expect(outcomes[1]).toEqual(outcomes[0]);
  });

  test('a target without a path reaches no layer, as in Express', async () => {
    const seen = jest.fn();
    const app = appWith(
      (one) =>
        void one.use(
          compose((req: Request, _res: Response, next: NextFunction) => {
            seen(req.url);
            next();
          }),
        ),
    );
    const { port } = cleanup.add(await listen(() => {}, createServer(expressListener(app))));
    const client = cleanup.add(await RawClient.connect(port));
    client.send('GET http:// HTTP/1.1\r\nHost: a\r\n\r\n');
    expect(await client.response()).toMatchObject({ status: 404 });
    expect(seen).not.toHaveBeenCalled();
  });

  test('errors and requests that the app passes on go to the third argument', async () => {
    const app = create()
      .disable('x-powered-by')
      .use(compose(pass) as never);
    const serve = expressListener(app);
    const server = createServer((req, res) => serve(req, res, (error) => void res.end(`passed on ${error}`)));
    expect((await request(server).get('/')).text).toBe('passed on undefined');
  });
});

test("a request that a chain responds to never reaches Express's router", async () => {
  const app = express().disable('x-powered-by');
  app.use(compose((_req: Request, res: Response) => res.send('from the chain')));
  const handle = jest.spyOn(app.router as unknown as { handle(): void }, 'handle');
  expect((await request(expressListener(app)).get('/')).text).toBe('from the chain');
  expect(handle).not.toHaveBeenCalled();
});
