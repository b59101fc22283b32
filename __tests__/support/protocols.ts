import { createServer, type RequestListener, type Server } from 'node:http';
import type { Duplex } from 'node:stream';
import { type HardenServerOptions, hardenServer } from 'expressway';
import { http2ServerOf } from './http2.ts';
import { RawClient, type RawMessage } from './raw-client.ts';
import { StreamClient } from './stream-client.ts';

/** A client that sends requests written as HTTP/1.1, and gives responses as such, whatever it speaks. */
export interface TextClient {
  /** The connection of HTTP/1.1, or the stream of the last request. */
  readonly socket: Duplex;
  /** What came behind the response: of a tunnel, for example. */
  readonly pending: Buffer;
  /** How the other side closed it: `FIN` for an orderly end, or else an error code. */
  readonly closedBy: string | undefined;
  send(text: string | Buffer): void;
  /** The next response; informational ones are given like any other. */
  response(method?: string): Promise<RawMessage>;
  /** Waits until enough of what comes behind the response is there. */
  until(condition: (pending: Buffer) => boolean): Promise<void>;
  /** Waits for the end of what the other side sends. */
  closed(): Promise<void>;
  /** Gives up the request under way: resets its stream, or the connection where it has no other. */
  abort(): void;
  /** Leaves without a word in the protocol. */
  close(): void;
}

/** A protocol that clients may speak: the same tests hold for each. */
export interface Protocol {
  readonly name: string;
  readonly serverOf: (app: RequestListener) => Server;
  /** A server with bounds. */
  readonly hardened: (bounds: HardenServerOptions) => (app: RequestListener) => Server;
  connect(port: number): Promise<TextClient>;
  /** One request on a connection of its own. */
  request(port: number, text: string, method?: string): Promise<RawMessage>;
}

async function exchange(client: TextClient, text: string, method?: string): Promise<RawMessage> {
  try {
    client.send(text);
    return await client.response(method);
  } finally {
    client.close();
  }
}

const HTTP_1: Protocol = {
  name: 'HTTP/1.1',
  serverOf: createServer,
  hardened: (bounds) => (app) => hardenServer(createServer(app), bounds),
  connect: (port) => RawClient.connect(port),
  request: async (port, text, method) => exchange(await RawClient.connect(port), text, method),
};

/** On a server that offers HTTP/2 as well. */
const HTTP_1_TLS: Protocol = {
  name: 'HTTP/1.1 with TLS',
  serverOf: http2ServerOf(),
  hardened: http2ServerOf,
  connect: (port) => RawClient.connectTls(port),
  request: async (port, text, method) => exchange(await RawClient.connectTls(port), text, method),
};

const HTTP_2: Protocol = {
  name: 'HTTP/2',
  serverOf: http2ServerOf(),
  hardened: http2ServerOf,
  connect: (port) => StreamClient.connect(port),
  request: async (port, text, method) => exchange(await StreamClient.connect(port), text, method),
};

export const PROTOCOLS: readonly Protocol[] = [HTTP_1, HTTP_2];

/** For behaviour that depends on how a connection ends. */
export const WITH_TLS: readonly Protocol[] = [HTTP_1, HTTP_1_TLS, HTTP_2];
