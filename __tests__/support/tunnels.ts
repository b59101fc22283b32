import { createHash } from 'node:crypto';
import type { Socket } from 'node:net';
import type { Protocol, TextClient } from './protocols.ts';
import { RawClient } from './raw-client.ts';
import type { RecorderBackend, Script } from './recorder-backend.ts';

export const SWITCHING = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n';

/** `Sec-WebSocket-Accept` for a `Sec-WebSocket-Key`. */
export const acceptOf = (key: string): string =>
  createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');

/** Switches for the request with this head. Over HTTP/2 the gateway makes the key, and checks what comes of it (RFC 6455 §4.1). */
export function switchingFor(head: Buffer | string): string {
  const key = /^sec-websocket-key: (.*)\r$/im.exec(String(head))?.[1];
  return key === undefined ? SWITCHING : SWITCHING.replace(/\r\n$/, `Sec-WebSocket-Accept: ${acceptOf(key)}\r\n\r\n`);
}

export const upgradeRequest = (more = '', target = '/ws'): string =>
  `GET ${target} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n${more}\r\n`;

/** Switches, and then sends what it gets back. */
export const rawEcho: Script = (socket, request) => {
  rawSilence(socket, request, 0);
  socket.on('data', (chunk) => socket.write(chunk));
};

/** Only switches. */
export const rawSilence: Script = (socket, { fields }) => {
  socket.write(switchingFor(fields.map(([name, value]) => `${name}: ${value}\r\n`).join('')));
};

/** A client whose connection, or stream, is upgraded. */
export async function tunnelOver(
  { connect }: Pick<Protocol, 'connect'>,
  port: number,
  target?: string,
): Promise<TextClient> {
  const client = await connect(port);
  client.send(upgradeRequest('', target));
  const { status } = await client.response();
  if (status !== 101) throw new Error(`not upgraded: ${status}`);
  return client;
}

/** A client whose connection is upgraded. */
export const rawTunnel = (port: number, target?: string) => tunnelOver(RawClient, port, target) as Promise<RawClient>;

/** The one connection that the gateway has to a backend. */
export function onlyConnection(backend: RecorderBackend): Socket {
  const [socket, ...others] = backend.connections;
  if (socket === undefined || others.length > 0) throw new Error(`${backend.connections.size} connections`);
  return socket;
}
