import { createServer } from 'node:http';
import { backendOrigins, serveTarget } from '../harness/target-side.ts';
import { hpmApp } from './hpm-app.ts';

await serveTarget(createServer(hpmApp(backendOrigins())));
