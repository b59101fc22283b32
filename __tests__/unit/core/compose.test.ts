import { afterEach, describe, expect, test } from '@jest/globals';
import express, { type NextFunction, type Request, type Response } from 'express';
import { compose } from 'expressway';
import request from 'supertest';
import { EXPRESS_VERSIONS } from '../../support/express-versions.ts';
import { Cleanup } from '../../support/gateway.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

type Handler = (req: Request, res: Response, next: NextFunction) => unknown;

const pass: Handler = (_req, _res, next) => next();
const answer =
  (text: string): Handler =>
  (_req, res) =>
    res.send(text);
const never: Handler = () => {
  throw new Error('was called');
};

/** What an app does with some middlewares: its answer, or what its error handler got. */
async function outcomeOf(app: express.Express, mount: (app: express.Express) => void): Promise<string> {
  mount(app);
  app.use((_req: Request, res: Response) => void res.status(404).send('nobody answered'));
  app.use((error: unknown, _req: Request, res: Response, _next: NextFunction) => {
    res.status(500).send(`error: ${error instanceof Error ? error.message : String(error)}`);
  });
  const { status, text } = await request(app).get('/a/b?c=d');
  return `${status} ${text}`;
}

/** Each a chain that Express itself knows what to do with. */
const CHAINS: Record<string, Handler[]> = {
  'of none': [],
  'of one that answers': [answer('one')],
  'where the last one answers': [pass, pass, answer('last')],
  'where one in the middle answers': [pass, answer('middle'), never],
  'where nobody answers': [pass, pass],
  'where one gives an error to next': [pass, (_req, _res, next) => next(new Error('given')), never],
  'where one throws': [
    () => {
      throw new Error('thrown');
    },
    never,
  ],
  'where one throws after others have passed it on': [
    (_req, _res, next) => {
      next();
    },
    () => {
      throw new Error('thrown deep');
    },
    never,
  ],
  'where one throws what is no error': [
    () => {
      throw undefined;
    },
    answer('went on'),
  ],
  'where one passes it on later': [(_req, _res, next) => setImmediate(next), answer('later')],
  'where one gives an error later': [(_req, _res, next) => setImmediate(() => next(new Error('late'))), never],
  'where one leaves the router': [(_req, _res, next) => next('router'), never],
  'where one gives nothing that is true': [(_req, _res, next) => next(null), answer('went on')],
  'where one passes it on twice': [
    (_req, _res, next) => {
      next();
      next();
    },
    () => undefined,
    answer('the second time'),
  ],
  'where one changes the URL': [
    (req, _res, next) => {
      req.url = '/x';
      next();
    },
    (req, res) => res.send(`${req.url} of ${req.originalUrl}`),
  ],
};

const ASYNCHRONOUS: Record<string, Handler[]> = {
  'where a promise is rejected': [() => Promise.reject(new Error('rejected')), never],
  'where a promise is rejected without a reason': [() => Promise.reject(), never],
  'where one waits and passes it on': [
    async (_req, _res, next) => {
      await Promise.resolve();
      next();
    },
    answer('after waiting'),
  ],
};

describe.each(EXPRESS_VERSIONS)('compose() in %s behaves like app.use()', (_name, create) => {
  test.each(Object.entries(CHAINS))('%s', async (_what, chain) => {
    const apart = await outcomeOf(create(), (app) => void (chain.length > 0 && app.use(...chain)));
    expect(await outcomeOf(create(), (app) => void app.use(compose(...chain)))).toBe(apart);
  });

  test.each(Object.entries(ASYNCHRONOUS))('%s, as Express 5 does', async (_what, chain) => {
    const apart = await outcomeOf(express(), (app) => void app.use(...chain));
    expect(await outcomeOf(create(), (app) => void app.use(compose(...chain)))).toBe(apart);
  });

  test('under a path, with the path taken off', async () => {
    const app = create();
    app.use(
      '/a',
      compose(pass, (req: Request, res: Response) => res.send(`${req.baseUrl} ${req.url}`)),
    );
    expect((await request(app).get('/a/b')).text).toBe('/a /b');
  });

  test('on a route, which next("route") leaves', async () => {
    const app = create();
    app.get(
      '/a',
      compose((_req: Request, _res: Response, next: NextFunction) => next('route'), never),
    );
    app.get('/a', (_req, res) => void res.send('the next route'));
    expect((await request(app).get('/a')).text).toBe('the next route');
  });

  test('for concurrent requests, independently', async () => {
    const app = create();
    const wait: Handler = (req, _res, next) => void setTimeout(next, Number(req.path.slice(1)));
    app.use(compose(wait, pass, (req: Request, res: Response) => res.send(req.path)));
    const texts = await Promise.all([30, 1, 15].map(async (ms) => (await request(app).get(`/${ms}`)).text));
    expect(texts).toEqual(['/30', '/1', '/15']);
  });

  test('nested in another compose()', async () => {
    const app = create();
    app.use(compose(compose(pass, pass), compose(answer('inner')), never));
    expect((await request(app).get('/')).text).toBe('inner');
  });
});

test('compose() names each argument that is no middleware', () => {
  const errorHandler = (_error: unknown, _req: Request, _res: Response, _next: NextFunction) => undefined;
  expect(() => compose(pass, errorHandler as unknown as Handler, undefined as unknown as Handler)).toThrow(
    'compose: argument 2 must be a middleware (req, res, next), got the function errorHandler; argument 3 must be a middleware (req, res, next), got undefined',
  );
});
