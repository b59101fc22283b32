import { createServer } from 'node:http';
import { backendOrigins, serveTarget } from '../harness/target-side.ts';
import { hpmApp } from './hpm-app.ts';
import { accessLog, durations } from './http-parts.ts';

// `hpm` with metrics and an access log. The first argument is the file of the log, the others are the backends.

const [file = '', ...origins] = process.argv.slice(2);
await serveTarget(createServer(hpmApp(backendOrigins(origins), accessLog(file), durations('/'))));
