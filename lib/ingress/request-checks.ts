import type { IncomingHttpHeaders, IncomingMessage, Server } from 'node:http';
import { GatewayError } from '../core/errors.ts';
import type { Exchange } from '../core/exchange.ts';
import { isAfterLastResponse } from '../core/last-response.ts';
import type { Rejected, RequestFault } from '../core/outcome.ts';
import { isAuthority, targetFault } from './request-target.ts';

/**
 * What becomes of a request whose path servers read in different ways: `reject` refuses it with 400, except for an encoded
 * slash alone; `strict` refuses that too; `pass` lets all of them pass.
 */
export type AmbiguousPaths = 'reject' | 'strict' | 'pass';

/**
 * Why a request must not be forwarded, if it must not. The checks are made once per exchange. They reject
 * what Node's parser lets pass and another server may read as something else.
 */
export function refusalOf(exchange: Exchange, ambiguousPaths: AmbiguousPaths): Rejected | undefined {
  if (exchange.fault === undefined) exchange.fault = faultOf(exchange) ?? null;
  const { fault } = exchange;
  if (fault === null || passes(fault, ambiguousPaths)) return undefined;
  return { kind: 'rejected', cause: fault.cause, detail: fault.detail };
}

function passes({ ambiguous }: RequestFault, paths: AmbiguousPaths): boolean {
  if (ambiguous === undefined || paths === 'strict') return false;
  return paths === 'pass' || ambiguous === 'encoded-slash';
}

function faultOf({ req, res }: Exchange): RequestFault | undefined {
  if (isAfterLastResponse(req, res)) return fault('bad_request', 'The connection has ended before this request.');
  // Of an HTTP/2 request, which has no framing fields, only the target is left to check.
  const framing = 'stream' in req ? undefined : (versionFault(req) ?? fieldsFault(req) ?? framingFault(req));
  if (framing !== undefined) return framing;
  // The app may have cut the path that it is mounted at off the other one.
  const target = req.originalUrl ?? req.url ?? '';
  const longest = targetCap(req);
  if (longest > 0 && target.length > longest) {
    return fault('target_too_long', `Longest allowed: ${longest} bytes (maxTargetBytes, MAX_TARGET_BYTES).`);
  }
  return targetFault(req.method, target);
}

function versionFault({ httpVersion }: IncomingMessage): RequestFault | undefined {
  if (httpVersion === '1.1' || httpVersion === '1.0') return undefined;
  // What Node makes of a request line that ends behind the target (RFC 9112 §3).
  if (httpVersion === '0.9') return fault('bad_request', 'The request line has no HTTP version.');
  return fault('version_not_supported', 'This server speaks HTTP/1.1 here.');
}

function fieldsFault(req: IncomingMessage): RequestFault | undefined {
  const { rawHeaders, httpVersion } = req;
  // Node reads no more fields than that, drops the others (before version 26 in silence), and frames by all of them.
  const most = fieldCap(req);
  if (most > 0 && rawHeaders.length >= 2 * most) return fault('head_too_large', `Most fields allowed: ${most - 1}.`);
  let hosts = 0;
  let host = '';
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] as string;
    if (name.length !== 4 || (name !== 'Host' && name.toLowerCase() !== 'host')) continue;
    hosts += 1;
    host = rawHeaders[i + 1] as string;
  }
  // RFC 9112 §3.2.
  if (hosts > 1) return fault('bad_request', 'The field Host is repeated.');
  if (hosts === 0 && httpVersion === '1.0') return undefined;
  if (rawHeaders.length === 0 && req.headers.host !== undefined) throw notFromServer();
  if (hosts === 0) return fault('bad_request', 'The field Host is missing.');
  return isAuthority(host) ? undefined : fault('bad_request', 'The field Host is not valid.');
}

/** Framing is read as it came: a middleware that edits `req.headers` changes nothing about the bytes. */
/** serverless-http and the like make request objects of their own, without what the checks read. */
function notFromServer(): GatewayError {
  return new GatewayError(
    'ERR_EXPRESSWAY_RUNTIME',
    'this request does not come from a server of Node (serverless-http?): it has headers and no raw headers, which the checks of ' +
      'requestGuard() and roundRobinProxy() read',
  );
}

function framingFault({ rawHeaders, headers, httpVersion }: IncomingMessage): RequestFault | undefined {
  const coding = received(rawHeaders, 'transfer-encoding');
  const length = received(rawHeaders, 'content-length');
  if (coding !== undefined) {
    // RFC 9112 §6.1: faulty, whatever else the message says.
    if (httpVersion === '1.0') return fault('bad_request', 'HTTP/1.0 has no transfer codings.');
    if (length !== undefined) return fault('bad_request', 'The content is framed in two ways.');
    const codings = coding.toLowerCase();
    if (codings === 'chunked') return expectationFault(headers);
    // RFC 9112 §6.3: the end of this content is unknown.
    if (!/,[ \t]*chunked$/.test(codings)) return fault('bad_request', 'The last transfer coding is not chunked.');
    // Node takes off `chunked` alone; a backend would get the rest of the codings without their names.
    return fault('not_implemented', 'This transfer coding is not supported.');
  }
  if (length !== undefined && !Number.isSafeInteger(Number(length))) {
    return fault('content_too_large', 'The content is longer than can be counted.');
  }
  return expectationFault(headers);
}

/** The value of a header as the client sent it, its lines joined. */
function received(rawHeaders: readonly string[], name: string): string | undefined {
  let value: string | undefined;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const other = rawHeaders[i] as string;
    if (other.length !== name.length || other.toLowerCase() !== name) continue;
    value = value === undefined ? rawHeaders[i + 1] : `${value}, ${rawHeaders[i + 1]}`;
  }
  return value;
}

/** RFC 9110 §10.1.1. */
function expectationFault({ expect }: IncomingHttpHeaders): RequestFault | undefined {
  if (expect === undefined || String(expect).toLowerCase() === '100-continue') return undefined;
  return fault('expectation_failed', 'Only 100-continue can be expected.');
}

const fault = (cause: RequestFault['cause'], detail: string): RequestFault => ({ cause, detail });

const kTargetCap = Symbol('expressway.targetCap');

/** Where Node's parser stops when a server sets no `maxHeadersCount`: it counts 2,000 names and values, so 1,000 fields. */
const NODE_FIELD_CAP = 1_000;

type LimitedServer = Partial<Pick<Server, 'maxHeadersCount'>> & { [kTargetCap]?: number };

/** Has the checks of requests refuse longer targets on this server; 0 for any length. */
export function setTargetCap(server: Server, bytes: number): void {
  (server as LimitedServer)[kTargetCap] = bytes;
}

/** Bytes that a target on this request's server may have; 0 for any number. */
function targetCap(req: IncomingMessage): number {
  return serverOf(req)?.[kTargetCap] ?? 0;
}

/** Number of fields at which this request's server reads no further; 0 for never. */
function fieldCap(req: IncomingMessage): number {
  return serverOf(req)?.maxHeadersCount ?? NODE_FIELD_CAP;
}

/** net.Server leaves itself on each connection that it accepts. */
function serverOf({ socket }: IncomingMessage): LimitedServer | undefined {
  return (socket as { server?: LimitedServer } | undefined)?.server;
}
