/**
 * A gateway in a process of its own that can be made to have no file descriptor left. Started with a low limit of open
 * files, and its options as JSON. One client connection tells it what to do: `/-/starve` takes all descriptors and keeps
 * them taken, `/-/feed` gives them back, `/-/state` tells what it knows. All else is forwarded.
 */
import { closeSync, openSync } from 'node:fs';
import { createServer } from 'node:http';
import { devNull } from 'node:os';
import { exchangeOf } from '../../lib/core/exchange.ts';
import { roundRobinProxy } from '../../lib/proxy/round-robin-proxy.ts';
import type { RoundRobinProxyOptions } from '../../lib/proxy/round-robin-proxy-options.ts';

const proxy = roundRobinProxy(JSON.parse(process.argv[2] as string) as RoundRobinProxyOptions);
const told: string[] = [];
const { events } = proxy;
events.on('attemptFailed', ({ outcome }) => told.push(`attemptFailed ${outcome.kind}`));
events.on('healthChange', ({ to }) => told.push(`healthChange ${to}`));
events.on('healthChecked', ({ error }) => error && told.push(`healthChecked ${error.message}`));
events.on('circuitStateChange', ({ to }) => told.push(`circuitStateChange ${to}`));
events.on('discoveryFailed', ({ error }) => told.push(`discoveryFailed ${error.message}`));
events.on('resourceShortage', ({ code }) => told.push(`resourceShortage ${code}`));
events.on('rejected', ({ outcome }) => told.push(`rejected ${outcome.kind === 'rejected' ? outcome.cause : ''}`));
process.on('warning', (warning) => {
  const { code } = warning as NodeJS.ErrnoException;
  if (code?.startsWith('WARN_') === true) told.push(`${code} ${warning.message}`);
});

const taken: number[] = [];
let starving: NodeJS.Timeout | undefined;
function take(): void {
  try {
    for (;;) taken.push(openSync(devNull, 'r'));
  } catch {
    // There are no more.
  }
}

const actions: Record<string, () => unknown> = {
  '/-/starve': () => {
    take();
    starving = setInterval(take, 1);
  },
  '/-/feed': () => {
    clearInterval(starving);
    for (const descriptor of taken.splice(0)) closeSync(descriptor);
  },
  '/-/state': () => ({ told, backends: proxy.status() }),
};

createServer((req, res) => {
  const action = actions[req.url ?? ''];
  if (action !== undefined) {
    res.end(JSON.stringify(action() ?? null));
    return;
  }
  exchangeOf(req as never, res);
  proxy(req as never, res as never, (error) => {
    res.statusCode = 500;
    res.end(String(error));
  });
}).listen(0, '127.0.0.1', function (this: { address(): unknown }) {
  process.stdout.write(`${JSON.stringify(this.address())}\n`);
});
process.stdin.on('end', () => process.exit()).resume();
