/**
 * A gateway that does nothing but limit, in a process of its own: the limiter of index i at the path /i. When its
 * standard input ends, it prints what it has let pass, as [limiter, moment of asking, moment of passing], and ends.
 */
import { createServer } from 'node:http';
import { ipRateLimit } from '../../lib/rate-limit/ip-rate-limit.ts';

const limiters = JSON.parse(process.argv[2] as string).map(ipRateLimit) as ReturnType<typeof ipRateLimit>[];
const passed: [number, number, number][] = [];
const now = () => performance.timeOrigin + performance.now();

const server = createServer((req, res) => {
  const i = Number(req.url?.slice(1));
  const asked = now();
  limiters[i]?.(req, res, () => {
    passed.push([i, asked, now()]);
    res.end('ok');
  });
});
// On a busy machine a connection may be idle for longer than the usual 5 s, and be closed while the next request is on its way.
server.keepAliveTimeout = 0;
server.listen(0, '127.0.0.1', () => process.stdout.write(`${JSON.stringify(server.address())}\n`));

process.stdin
  .on('end', async () => {
    server.close();
    server.closeAllConnections();
    for (const limiter of limiters) await limiter.close();
    const modes = limiters.map(({ mode }) => mode);
    process.stdout.write(`${JSON.stringify({ passed, modes })}\n`);
  })
  .resume();
