import { once } from 'node:events';
import type { IncomingHttpHeaders } from 'node:http';
import { request } from 'node:https';
import type { ConnectionOptions } from 'node:tls';
import { Http2Client } from './http2.ts';

/** A response of a backend that sends back the headers it got, or a rejection. */
export interface Seen {
  readonly status: number;
  readonly got: IncomingHttpHeaders & { readonly cause?: string; readonly detail?: string };
}

/** Sends one request on a TLS connection of its own, by default to `a.test` and for `/`. */
export type SecureAsk = (
  port: number,
  tls: ConnectionOptions,
  headers?: Record<string, string>,
  path?: string,
) => Promise<Seen>;

const TO_ANY = { host: '127.0.0.1', servername: 'a.test', rejectUnauthorized: false } as const;

export const overHttp1: SecureAsk = async (port, tls, headers = {}, path = '/') => {
  const options = { port, path, ...TO_ANY, ...tls, agent: false as const, headers: { host: 'a.test', ...headers } };
  const [res] = await once(request(options).end(), 'response');
  let text = '';
  for await (const chunk of res) text += chunk;
  return seen(res.statusCode, text);
};

export const overHttp2: SecureAsk = async (port, tls, { host = 'a.test', ...headers } = {}, path = '/') => {
  const client = new Http2Client(port, { ...TO_ANY, ...tls });
  const { status, content } = await client.request({ ':path': path, ':authority': host, ...headers });
  client.close();
  if (status === 0) throw new Error('there is no response');
  return seen(status, content.toString());
};

/** The backend of the tests of the gateway has them under `headers`. */
function seen(status: number, text: string): Seen {
  const { headers, ...rest } = JSON.parse(text);
  return { status, got: headers ?? rest };
}

export const SECURE_PROTOCOLS: readonly (readonly [string, SecureAsk])[] = [
  ['HTTP/1.1', overHttp1],
  ['HTTP/2', overHttp2],
];
