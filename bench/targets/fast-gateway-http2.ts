import { readFileSync } from 'node:fs';
import { createSecureServer } from 'node:http2';
import gateway from 'fast-gateway';

// Bare, on Node's own HTTP/2 server with its compatibility API: arguments are port, certificate, key and backend.

const [port, cert, key, target] = process.argv.slice(2) as [string, string, string, string];
const server = createSecureServer({ cert: readFileSync(cert), key: readFileSync(key), allowHTTP1: true });
await gateway({ restana: { server }, routes: [{ prefix: '', target }] } as never).start(Number(port), '127.0.0.1');
