import { readFileSync } from 'node:fs';
import { createSecureServer } from 'node:http2';
import gateway from 'fast-gateway';
import { featuredGateway } from './fast-gateway-features.ts';

// On Node's own HTTP/2 server with its compatibility API. Arguments are port, certificate, key, backend, and the file of the access log: without it, it is bare.

const [port, cert, key, target, file] = process.argv.slice(2) as [string, string, string, string, string | undefined];
const server = createSecureServer({ cert: readFileSync(cert), key: readFileSync(key), allowHTTP1: true });
const service =
  file === undefined
    ? gateway({ restana: { server }, routes: [{ prefix: '', target }] } as never)
    : featuredGateway(file, [target], server);
await service.start(Number(port), '127.0.0.1');
