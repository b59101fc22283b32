import { expect, test } from '@jest/globals';
import type { NextFunction, Request, Response } from 'express';
import express from 'express';
import { type IpRateLimitOptions, ipRateLimit, type KeyFunction } from 'expressway';

// As in an app with @types/passport, which declares `user` in just these words.
declare global {
  namespace Express {
    interface User {
      readonly id?: string;
      readonly plan?: 'free' | 'pro';
    }
    interface Request {
      user?: User | undefined;
    }
  }
}

test('functions for the Request of Express compile as options of ipRateLimit(), with what an app adds to it', async () => {
  const options: IpRateLimitOptions = {
    key: (req: Request) => req.user?.id ?? req.get('x-api-key'),
    limit: async (req: Request) => (req.user?.plan === 'pro' ? 1_000 : 100),
    cost: (req: express.Request) => (req.query.export === undefined ? 1 : 10),
    skip: (req: Request) => req.path === '/livez',
  };
  // Without a type of their own, functions see what the app has declared.
  const inferred: IpRateLimitOptions = {
    key: (req) => req.user?.id,
    limit: (req) => (req.user?.plan === 'pro' ? 1_000 : 100),
    cost: (req) => (req.method === 'GET' ? 1 : 10),
    skip: async (req) => req.ip === '127.0.0.1',
  };
  // @ts-expect-error: a key is a text
  const wrong: KeyFunction = (req: Request) => req.user;
  // @ts-expect-error: not a request
  const other: KeyFunction = (req: { readonly notThere: string }) => req.notThere;
  expect([typeof wrong, typeof other]).toEqual(['function', 'function']);
  const app = express();
  app.use((req: Request, _res: Response, next: NextFunction) => {
    req.user = { id: 'alice' };
    next();
  });
  for (const [name, one] of Object.entries({ options, inferred })) app.use(ipRateLimit({ ...one, name }));
});
