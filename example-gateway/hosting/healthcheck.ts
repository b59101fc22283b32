import { readConfig } from 'expressway/gateway';

/** For container engines, which ask by a command: ends with 0 when the gateway of this container is ready, else with 1. */
async function ask(): Promise<string> {
  const { admin } = readConfig(process.env);
  if (admin === undefined) throw new Error('there is no listener to ask: ADMIN_PORT is empty');
  const { host, port } = admin;
  const reachable = { '0.0.0.0': '127.0.0.1', '::': '::1' }[host] ?? host;
  const authority = reachable.includes(':') ? `[${reachable}]` : reachable;
  const { status } = await fetch(`http://${authority}:${port}/readyz`, { signal: AbortSignal.timeout(2_500) });
  if (status !== 200) throw new Error(`/readyz answers ${status}`);
  return 'ready';
}

try {
  process.stdout.write(`${await ask()}\n`);
} catch (error) {
  process.stderr.write(`not ready: ${(error as Error).message}\n`);
  process.exitCode = 1;
}
