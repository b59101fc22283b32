import { createServer, type IncomingMessage, ServerResponse } from 'node:http';
import { afterEach, expect, test } from '@jest/globals';
import express from 'express';
import { circuitBreaker, GatewayEvents, hardenServer, ipRateLimit, requestGuard, roundRobinProxy } from 'expressway';
import { CAUSES, type Cause } from '../../../lib/core/causes.ts';
import { type Exchange, exchangeOf } from '../../../lib/core/exchange.ts';
import type { Outcome } from '../../../lib/core/outcome.ts';
import { Cleanup } from '../../support/gateway.ts';
import { rawRequest } from '../../support/raw-client.ts';
import { closedPort, listen } from '../../support/servers.ts';
import { FakeRedisClient } from '../rate-limit/fake-redis-client.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

type EventName = 'rejected' | 'limited' | 'clientRefused';

interface Caller {
  readonly cause: Cause;
  readonly event: EventName;
  mount(app: express.Express, events: GatewayEvents): unknown;
  /** Sent one after the other; the last one is rejected. Default: one GET. */
  readonly requests?: readonly string[];
}

const GET = 'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n';
const hang = () => {};
const limiter = (options: object) => (app: express.Express, events: GatewayEvents) =>
  app.use(cleanup.add(ipRateLimit({ ...options, events })), (_req, res) => void res.send('ok'));

/** Every place that answers a request in the gateway's own name. */
const CALLERS: Record<string, Caller> = {
  'ipRateLimit(), over the limit': {
    cause: 'rate_limited',
    event: 'limited',
    mount: limiter({ limit: 1 }),
    requests: [GET, GET],
  },
  'ipRateLimit(), a client on the deny list': {
    cause: 'client_denied',
    event: 'rejected',
    mount: limiter({ deny: ['127.0.0.1'] }),
  },
  'ipRateLimit(), with neither store nor fallback': {
    cause: 'limiter_unavailable',
    event: 'rejected',
    mount: limiter({
      redis: Object.assign(new FakeRedisClient(), { isReady: false }),
      onStoreError: 'closed',
      fallbackAfterMisses: 1,
      fallbackAfterMs: 0,
    }),
  },
  'circuitBreaker(), open': {
    cause: 'circuit_open',
    event: 'rejected',
    mount(app, events) {
      const breaker = circuitBreaker({ events });
      breaker.isolate();
      app.use(breaker, hang);
    },
  },
  'circuitBreaker(), a handler that takes too long': {
    cause: 'handler_timeout',
    event: 'rejected',
    mount: (app, events) => app.use(circuitBreaker({ timeoutMs: 20, events }), hang),
  },
  'requestGuard()': {
    cause: 'bad_request',
    event: 'rejected',
    mount: (app, events) => app.use(requestGuard({ events })),
    requests: [GET.replace('/', '/a%5cb')],
  },
  'roundRobinProxy(), no backend': {
    cause: 'connection_refused',
    event: 'rejected',
    async mount(app, events) {
      app.use(cleanup.add(roundRobinProxy({ backends: [`http://127.0.0.1:${await closedPort()}`], events })));
    },
  },
  'roundRobinProxy(), a request that it refuses': {
    cause: 'bad_request',
    event: 'rejected',
    mount: (app, events) => app.use(cleanup.add(roundRobinProxy({ backends: ['http://127.0.0.1:1'], events }))),
    requests: [GET.replace('/', '/a%5cb')],
  },
  'hardenServer(), a target that no middleware would see': {
    cause: 'bad_request',
    event: 'clientRefused',
    mount: hang,
    requests: [GET.replace('/', 'http://')],
  },
  'hardenServer(), an expectation': {
    cause: 'expectation_failed',
    event: 'clientRefused',
    mount: hang,
    requests: [GET.replace('\r\n\r\n', '\r\nExpect: magic\r\n\r\n')],
  },
  'hardenServer(), content that cannot be read': {
    cause: 'bad_request',
    event: 'clientRefused',
    mount: (app) => app.use(hang),
    requests: ['POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n'],
  },
};

const causeOf = (outcome: Outcome | undefined) => (outcome && 'cause' in outcome ? outcome.cause : outcome?.kind);

test.each(Object.entries(CALLERS))('%s: settles the request, emits the event, then responds', async (_, caller) => {
  const { cause, event, mount, requests = [GET] } = caller;
  const steps: string[] = [];
  class WatchedResponse extends ServerResponse {
    constructor(req: IncomingMessage) {
      super(req);
      const { end } = this;
      // A property of its own: Express gives the response another prototype.
      this.end = (...args: unknown[]) => {
        if (this.statusCode >= 400) {
          steps.push(`response ${this.statusCode}, outcome ${causeOf(exchangeOf(req, this).outcome)}`);
        }
        return end.apply(this, args as never);
      };
    }
  }
  const events = new GatewayEvents();
  for (const name of ['rejected', 'limited', 'clientRefused'] as const) {
    events.on(name, ({ exchange }: { exchange: Exchange | undefined }) => {
      // Only a request that no middleware has seen comes without.
      steps.push(`${name}, outcome ${exchange === undefined ? cause : causeOf(exchange.outcome)}`);
      expect(exchange?.res.headersSent ?? false).toBe(false);
    });
  }
  const app = express();
  await mount(app, events);
  const server = hardenServer(createServer({ ServerResponse: WatchedResponse as never }, app), { events });
  const { port } = cleanup.add(await listen(app, server));
  let status: number | undefined;
  for (const request of requests) ({ status } = await rawRequest(port, request));
  expect(status).toBe(CAUSES[cause].status);
  expect(steps).toEqual([`${event}, outcome ${cause}`, `response ${status}, outcome ${cause}`]);
});
