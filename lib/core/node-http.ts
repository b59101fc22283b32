import type * as http from 'node:http';

/**
 * What this package uses of `node:http` beside types. When an ES module imports it, Node reads all of its exports. Among them is its
 * WebSocket client, and with that Node loads its built-in undici: 45 ms and 16 MB of each start.
 */
export const {
  createServer,
  IncomingMessage,
  request,
  ServerResponse,
  STATUS_CODES,
  validateHeaderName,
  validateHeaderValue,
} = process.getBuiltinModule('node:http');
export type IncomingMessage = http.IncomingMessage;
export type ServerResponse = http.ServerResponse;
