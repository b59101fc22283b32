/**
 * A gateway of `limiter-hiccups.ts` that does nothing but limit. Prints its port when it is ready; when its standard input
 * ends, it prints when requests that passed came and were decided, the longest decision, and its changes of mode.
 */
import { createServer } from 'node:http';
import { type IpRateLimitOptions, ipRateLimit } from '../lib/index.ts';

const limiter = ipRateLimit(JSON.parse(process.argv[2] as string) as IpRateLimitOptions);
const now = (): number => performance.timeOrigin + performance.now();
const passed: [came: number, decided: number][] = [];
const modes: string[] = [];
let longest = 0;
limiter.events.on('limiterModeChange', ({ to, error }) =>
  modes.push(error === undefined ? to : `${to}: ${error.message}`),
);

const server = createServer((req, res) => {
  const came = now();
  res.on('finish', () => {
    longest = Math.max(longest, now() - came);
  });
  limiter(req, res, () => {
    passed.push([came, now()]);
    res.end('ok');
  });
});
// The load keeps its connections.
server.keepAliveTimeout = 0;
await limiter.ready();
server.listen(0, '127.0.0.1', () => {
  const { port } = server.address() as { port: number };
  process.stdout.write(`${JSON.stringify({ port })}\n`);
});

process.stdin
  .on('end', async () => {
    server.close();
    server.closeAllConnections();
    await limiter.close();
    process.stdout.write(`${JSON.stringify({ passed, longest, modes })}\n`);
  })
  .resume();
