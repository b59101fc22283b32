import type { IncomingMessage, ServerResponse } from 'node:http';

/** The part of an Express request that the middlewares read; Express 4 and 5 both have it. */
export interface GatewayRequest extends IncomingMessage {
  ip?: string | undefined;
  originalUrl?: string;
  baseUrl?: string;
  app?: { get(setting: string): unknown; readonly request?: object };
}

export type Next = (error?: unknown) => void;

/** An Express (4 or 5) middleware, written in Node's own types so that neither version's types are needed. */
export type Middleware = (req: IncomingMessage, res: ServerResponse, next: Next) => void;
