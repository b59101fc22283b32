import type { Socket } from 'node:net';
import { RawClient } from './raw-client.ts';
import type { RecorderBackend, Script } from './recorder-backend.ts';

export const SWITCHING = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n';

export const upgradeRequest = (more = '', target = '/ws'): string =>
  `GET ${target} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n${more}\r\n`;

/** Switches, and then sends what it gets back. */
export const rawEcho: Script = (socket) => {
  socket.write(SWITCHING);
  socket.on('data', (chunk) => socket.write(chunk));
};

/** Only switches. */
export const rawSilence: Script = (socket) => void socket.write(SWITCHING);

/** A client whose connection is upgraded. */
export async function rawTunnel(port: number): Promise<RawClient> {
  const client = await RawClient.connect(port);
  client.send(upgradeRequest());
  const { startLine } = await client.response();
  if (!startLine.startsWith('HTTP/1.1 101 ')) throw new Error(`not upgraded: ${startLine}`);
  return client;
}

/** The one connection that the gateway has to a backend. */
export function onlyConnection(backend: RecorderBackend): Socket {
  const [socket, ...others] = backend.connections;
  if (socket === undefined || others.length > 0) throw new Error(`${backend.connections.size} connections`);
  return socket;
}
