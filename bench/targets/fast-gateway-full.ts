import type { Server } from 'node:http';
import { announceTarget, backendOrigins } from '../harness/target-side.ts';
import { featuredGateway } from './fast-gateway-features.ts';

// The first argument is the file of the access log, the others are the backends.

const [file = '', ...rest] = process.argv.slice(2);
announceTarget((await featuredGateway(file, backendOrigins(rest)).start(0, '127.0.0.1')) as Server);
