import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import express, { type NextFunction, type Request, type Response } from 'express';
import {
  accessLog,
  type BackendView,
  circuitBreaker,
  type Exchange,
  GatewayError,
  GatewayEvents,
  hardenServer,
  ipRateLimit,
  type LimitedEvent,
  OptionsError,
  observability,
  type RoundRobinProxyOptions,
  requestGuard,
  roundRobinProxy,
  type SelectionPolicy,
  upgradeHandler,
} from 'expressway';
import { answer, type Plan, startBackend, startRedisSwitch } from 'expressway/testing';

/** A policy of one's own, generic as the interface is. */
class FirstAvailable implements SelectionPolicy {
  select<B extends BackendView>(backends: readonly B[], _exchange: Exchange, tried: readonly B[]): B | undefined {
    return backends.find((backend) => !tried.includes(backend) && backend.isAvailable());
  }
}

const plan: Plan = (index) => answer({ content: `proxied ${index}` });
const backend = await startBackend({ plan });
const redis = await startRedisSwitch();

const events = new GatewayEvents();
const limited: LimitedEvent[] = [];
events.on('limited', (event) => limited.push(event));
events.on('circuitStateChange', ({ circuit, from, to, retryAfterMs }) => {
  const told: [string, string, string, number] = [circuit, from, to, retryAfterMs];
  void told;
});

const lines: string[] = [];
const limiter = ipRateLimit({
  limit: (req) => (req.headers['x-plan'] === 'gold' ? 10 : 2),
  key: (req) => req.ip ?? 'nobody',
  windowMs: 60_000,
  events,
});
const breaker = circuitBreaker({ name: 'route', failureRatio: 0.5, events });
const options: RoundRobinProxyOptions = {
  backends: [{ url: backend.url, weight: 1 }],
  loadBalancing: new FirstAvailable(),
  healthCheck: { path: '/healthz' },
  retry: { attempts: 1 },
  events,
};
const proxy = roundRobinProxy(options);

const app = express();
app.use(
  observability({ accessLog: accessLog({ to: { write: (line: string) => lines.push(line) }, format: 'common' }) }),
);
app.use('/api', requestGuard(), limiter, breaker, proxy);
app.use((error: unknown, _req: Request, res: Response, next: NextFunction) => {
  if (error instanceof GatewayError) res.status(500).send(error.code);
  else next(error);
});

const server: Server = hardenServer(createServer(app), { maxConnectionsPerAddress: 10 });
server.on('upgrade', upgradeHandler(app));
await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
const { port } = server.address() as AddressInfo;

const statuses: number[] = [];
for (let i = 0; i < 3; i++) {
  const response = await fetch(`http://127.0.0.1:${port}/api`);
  statuses.push(response.status);
  await response.text();
}
let problems: readonly string[] = [];
try {
  roundRobinProxy({ backends: [] });
} catch (error) {
  if (error instanceof OptionsError) problems = error.problems;
}

server.close();
server.closeAllConnections();
await proxy.close();
await limiter.close();
await backend.close();
redis.close();

const seen = JSON.stringify([statuses, limited.length, breaker.state, lines.length, problems.length]);
if (seen !== '[[200,200,429],1,"closed",3,1]') throw new Error(`unexpected: ${seen}`);
