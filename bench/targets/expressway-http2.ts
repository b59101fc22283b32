import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import express from 'express';
import { keepNewObjectsYoung } from '../../lib/gateway/v8-settings.ts';
import { expressListener, expressServerOptions, http2Server, roundRobinProxy } from '../../lib/index.ts';

// The proxy alone, as a bare fast-gateway is one. Arguments are port, certificate, key and backend.

const [port, cert, key, backend] = process.argv.slice(2) as [string, string, string, string];

// As the example gateway does at its start.
keepNewObjectsYoung();

const app = express();
app.disable('x-powered-by');
app.use(roundRobinProxy({ backends: [backend] }));
const tls = { cert: readFileSync(cert), key: readFileSync(key) };
http2Server(createServer({ ...expressServerOptions(app), ...tls }, expressListener(app))).listen(
  Number(port),
  '127.0.0.1',
);
