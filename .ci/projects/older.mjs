import { once } from 'node:events';
import http from 'node:http';
import { Writable } from 'node:stream';
import express from 'express';
import { accessLog, jwtAuth, observability } from 'expressway';
import { SignJWT } from 'jose';
import { pino } from 'pino';

const lines = [];
const to = new Writable({ write: (chunk, _encoding, done) => void done(null, lines.push(String(chunk))) });
const secret = 'a secret of forty characters, or a few more';

const app = express();
app.use(observability({ accessLog: accessLog({ to: pino(to) }) }));
app.use(jwtAuth({ issuer: 'https://issuer.example', audience: 'api', secret }));
app.use((_req, res) => void res.send('ok'));
const gateway = http.createServer(app).listen(0, '127.0.0.1');
await once(gateway, 'listening');

const token = await new SignJWT({ sub: 'ann' })
  .setProtectedHeader({ alg: 'HS256' })
  .setIssuer('https://issuer.example')
  .setAudience('api')
  .setExpirationTime('1m')
  .sign(Buffer.from(secret));
const url = `http://127.0.0.1:${gateway.address().port}`;
const { status } = await fetch(url, { headers: { authorization: `Bearer ${token}` } });
if (status !== 200 || (await fetch(url)).status !== 401) throw new Error(`got ${status}`);
gateway.close();
gateway.closeAllConnections();
await once(gateway, 'close');
if (lines.length !== 2) throw new Error(`got ${lines.length} lines of the log`);
