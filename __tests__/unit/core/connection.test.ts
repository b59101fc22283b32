import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { afterEach, describe, expect, test } from '@jest/globals';
import { isSecure, resetConnection, schemeOf } from '../../../lib/core/connection.ts';
import { exchangeOf } from '../../../lib/core/exchange.ts';
import { cut } from '../../../lib/core/reject.ts';
import { ConnectionResponses } from '../../../lib/ingress/connection-responses.ts';
import { certificate } from '../../support/certificate.ts';
import { Cleanup } from '../../support/gateway.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

interface Kind {
  readonly scheme: 'http' | 'https';
  serve(listener: RequestListener): Server;
  readonly at: number | string;
  connect(server: Server): Socket;
}

const port = (server: Server): number => (server.address() as AddressInfo).port;
const KINDS: Record<string, Kind> = {
  TCP: { scheme: 'http', serve: createServer, at: 0, connect: (server) => connect(port(server), '127.0.0.1') },
  'a Unix socket': {
    scheme: 'http',
    serve: createServer,
    at: join(tmpdir(), `expressway-${process.pid}.sock`),
    connect: (server) => connect(server.address() as string),
  },
  TLS: {
    scheme: 'https',
    serve: (listener) => createTlsServer(certificate, listener),
    at: 0,
    connect: (server) => connectTls({ port: port(server), host: '127.0.0.1', rejectUnauthorized: false }),
  },
};

/** Every place that breaks a client's connection off. */
const BREAKS: Record<string, RequestListener> = {
  'resetConnection()': (req) => resetConnection(req.socket),
  'cut(), of a response to HTTP/1.0': (req, res) => cut(exchangeOf(req, res)),
  'a hardened server, for a client that is too slow': (req) =>
    new ConnectionResponses(undefined).cut(req.socket, 'client_timeout'),
};

describe.each(Object.entries(KINDS))('on %s', (_, kind) => {
  test.each(Object.entries(BREAKS))('%s ends the connection, and throws nothing', async (_name, breakOff) => {
    const broken = Promise.withResolvers<void>();
    const server = kind.serve((req, res) => {
      try {
        expect([isSecure(req.socket), schemeOf(req.socket)]).toEqual([kind.scheme === 'https', kind.scheme]);
        breakOff(req, res);
        broken.resolve();
      } catch (error) {
        broken.reject(error);
      }
    });
    cleanup.add({ close: () => void server.close() });
    await once(server.listen(kind.at), 'listening');
    const client = cleanup.add(Object.assign(kind.connect(server), { close: () => void client.destroy() }));
    client.on('error', () => {}).resume();
    client.write('GET / HTTP/1.0\r\n\r\n');
    await Promise.all([broken.promise, new Promise((resolve) => client.once('close', resolve))]);
  });
});
