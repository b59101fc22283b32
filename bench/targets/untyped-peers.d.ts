// express-http-proxy has no types of its own; only what we use.
declare module 'express-http-proxy' {
  import type { RequestHandler } from 'express';
  export default function httpProxy(host: string, options: { parseReqBody: boolean }): RequestHandler;
}
