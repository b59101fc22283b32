import { parseArgs } from 'node:util';
import { exitOnStartError, StartError } from 'expressway/gateway';
import { startEchoBackend } from './echo-backend.ts';

const USAGE = 'Usage: node example-gateway/demo/demo-backend.ts [--port 8081] [--name one] [--host 127.0.0.1]';

function readArguments() {
  try {
    const { values } = parseArgs({
      options: {
        port: { type: 'string', default: '8081' },
        name: { type: 'string', default: 'one' },
        host: { type: 'string', default: '127.0.0.1' },
      },
    });
    const port = /^\d+$/.test(values.port) ? Number(values.port) : Number.NaN;
    if (!(port <= 65_535)) throw new Error(`--port must be from 0 to 65535, got ${JSON.stringify(values.port)}`);
    return { ...values, port };
  } catch (error) {
    throw new StartError([(error as Error).message, USAGE], { cause: error });
  }
}

try {
  const backend = await startEchoBackend(readArguments());
  if (process.send) {
    process.send({ url: backend.url });
    // A child of the demo ends with it, however the demo ends; Ctrl-C reaches the whole group, and the demo
    // wants its backends until the gateway has closed.
    process.once('disconnect', () => process.exit(0));
    process.on('SIGINT', () => {});
  } else {
    process.stdout.write(`backend ${backend.name} listens on ${backend.url}, pid ${process.pid}\n`);
  }
} catch (error) {
  exitOnStartError(error);
}
