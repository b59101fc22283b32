/**
 * A backend that ends as `gracefulShutdown()` has it, in a process of its own: prints its port, answers with its process id
 * after a few milliseconds.
 */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
// Not the whole package: this one starts often.
import { gracefulShutdown } from '../../lib/lifecycle/graceful-shutdown.ts';

const WORK_MS = 3;

const server = createServer((req, res) => {
  req.resume();
  setTimeout(() => res.end(String(process.pid)), WORK_MS);
});
gracefulShutdown(server, { idleGraceMs: 300 });
server.listen(Number(process.argv[2]), '127.0.0.1', () => {
  process.stdout.write(`"url":"http://127.0.0.1:${(server.address() as AddressInfo).port}"\n`);
});
