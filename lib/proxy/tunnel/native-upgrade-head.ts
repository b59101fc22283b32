import type { ClientRequest, IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Plugin } from 'http-proxy-middleware';

/**
 * Makes http-proxy-middleware's own WebSocket proxy send the head of a backend's response byte for byte. It writes header names in
 * lower case, and values, which Node has read as Latin-1, as UTF-8.
 */
export function sendUpgradeHeadsExactly(proxyServer: Parameters<Plugin>[0]): void {
  proxyServer.on('proxyReqWs', (proxyReq: ClientRequest, _req: unknown, client: Duplex) => {
    const onResponse = (response: IncomingMessage): void => correctNextWrite(client, response.rawHeaders);
    // Before the proxy's own listeners, which write the head at once.
    proxyReq.prependOnceListener('upgrade', onResponse);
    proxyReq.prependOnceListener('response', onResponse);
  });
}

function correctNextWrite(client: Duplex, rawHeaders: readonly string[]): void {
  const own = Object.getOwnPropertyDescriptor(client, 'write');
  const { write } = client;
  client.write = (chunk: unknown, ...rest: unknown[]): boolean => {
    if (own === undefined) Reflect.deleteProperty(client, 'write');
    else Object.defineProperty(client, 'write', own);
    const args = typeof chunk === 'string' ? [spelled(chunk, rawHeaders), 'latin1', ...rest] : [chunk, ...rest];
    return Reflect.apply(write, client, args);
  };
}

/** The head with the spelling of each name's first line. */
function spelled(head: string, rawHeaders: readonly string[]): string {
  const spellings = new Map<string, string>();
  for (let i = rawHeaders.length - 2; i >= 0; i -= 2) {
    const spelling = rawHeaders[i] as string;
    spellings.set(spelling.toLowerCase(), spelling);
  }
  return head.replace(/^[^\s:]+(?=:)/gm, (name) => spellings.get(name) ?? name);
}
