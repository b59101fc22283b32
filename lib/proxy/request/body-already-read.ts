import type { IncomingMessage } from 'node:http';
import { GatewayError } from '../../core/errors.ts';
import type { GatewayRequest } from '../../core/http.ts';
import type { Rejected } from '../../core/outcome.ts';
import { warnOnce } from '../../core/warnings.ts';

const CODE = 'ERR_EXPRESSWAY_BODY_ALREADY_READ';

const FIX = 'Mount roundRobinProxy() before body parsers such as express.json().';

const READ = `the body of this request was read before it reached the proxy. ${FIX}`;

const DECODED =
  'a middleware called req.setEncoding(), and what it decodes is not what the client sent. Forward the body before that.';

const AHEAD =
  'a middleware reads the body of this request beside the proxy, and more of it than the proxy can keep for the backend. ' +
  'Let it listen to "data" or use req.pipe() in the tick in which it calls next().';

/** Why not every byte of a body can be forwarded, if so; to be asked before anybody listens to it. */
export function whyUnreadable({ readableDidRead, readableEncoding }: IncomingMessage): string | undefined {
  if (readableDidRead) return READ;
  return readableEncoding === null ? undefined : DECODED;
}

/** The same as an error, for a proxy that reports errors. */
export const alreadyReadError = (why = AHEAD): GatewayError => new GatewayError(CODE, why);

/** The refusal of a request whose body is not all there. The operator is told once per server, a client never in production. */
export function alreadyRead(req: GatewayRequest, why = AHEAD): Rejected {
  warnOnce(req, CODE, `A request got 500: ${why}`);
  const isProduction = (req.app?.get('env') ?? process.env.NODE_ENV) === 'production';
  return { kind: 'rejected', cause: 'content_already_read', ...(isProduction ? {} : { detail: `${CODE}: ${why}` }) };
}
