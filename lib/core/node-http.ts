import type * as http from 'node:http';

/**
 * The values of `node:http` that this package uses. If an ES module imports `node:http`, Node reads all of its exports. One of them is its
 * WebSocket client, for which Node loads its built-in undici: 45 ms and 16 MB of each start.
 */
export const {
  createServer,
  IncomingMessage,
  METHODS,
  request,
  ServerResponse,
  STATUS_CODES,
  validateHeaderName,
  validateHeaderValue,
} = process.getBuiltinModule('node:http');
export type IncomingMessage = http.IncomingMessage;
export type ServerResponse = http.ServerResponse;
