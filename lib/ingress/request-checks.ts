import type { IncomingHttpHeaders, IncomingMessage, Server } from 'node:http';
import { isAuthority } from '../core/authority.ts';
import { GatewayError } from '../core/errors.ts';
import type { Exchange } from '../core/exchange.ts';
import { isAfterLastResponse } from '../core/last-response.ts';
import type { Rejected, RequestFault } from '../core/outcome.ts';
import { targetFault } from './request-target.ts';

/**
 * How to treat a request whose path servers read in different ways: `reject` sends 400, except for an encoded slash alone; `strict` rejects
 * that too; `pass` lets all of them pass.
 */
export type AmbiguousPaths = 'reject' | 'strict' | 'pass';

/**
 * Why a request must not be forwarded, if there is a reason. The checks run once per exchange. They reject requests that Node's parser
 * accepts and that another server may read differently.
 */
export function refusalOf(exchange: Exchange, ambiguousPaths: AmbiguousPaths): Rejected | undefined {
  if (exchange.fault === undefined) exchange.fault = faultOf(exchange) ?? null;
  const { fault } = exchange;
  if (fault === null || passes(fault, ambiguousPaths)) return undefined;
  return { kind: 'rejected', cause: fault.cause, detail: fault.detail };
}

/** Whether a fault is only an ambiguity that passes. */
export function passes({ ambiguous }: RequestFault, paths: AmbiguousPaths): boolean {
  if (ambiguous === undefined || paths === 'strict') return false;
  return paths === 'pass' || ambiguous === 'encoded-slash';
}

function faultOf({ req, res }: Exchange): RequestFault | undefined {
  if (isAfterLastResponse(req, res)) return fault('bad_request', 'The connection has ended before this request.');
  // An HTTP/2 request has no framing headers, so only the target is checked.
  const framing = 'stream' in req ? undefined : (versionFault(req) ?? fieldsFault(req) ?? framingFault(req));
  if (framing !== undefined) return framing;
  // Not `url`, from which the app may have removed its mount path.
  const target = req.originalUrl ?? req.url ?? '';
  const longest = targetCap(req);
  if (longest > 0 && target.length > longest) {
    return fault('target_too_long', `Longest allowed: ${longest} bytes (maxTargetBytes, MAX_TARGET_BYTES).`);
  }
  return targetFault(req.method, target);
}

function versionFault({ httpVersion }: IncomingMessage): RequestFault | undefined {
  if (httpVersion === '1.1' || httpVersion === '1.0') return undefined;
  // Node reads a request line without a version as HTTP/0.9 (RFC 9112 §3).
  if (httpVersion === '0.9') return fault('bad_request', 'The request line has no HTTP version.');
  return fault('version_not_supported', 'This server speaks HTTP/1.1 here.');
}

function fieldsFault(req: IncomingMessage): RequestFault | undefined {
  const { rawHeaders, httpVersion } = req;
  // Node drops further headers (silently before version 26), and still uses all of them for the framing.
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

/** Tools such as serverless-http create their own request objects, which lack the properties that the checks read. */
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
    // RFC 9112 §6.1: both headers together are invalid.
    if (httpVersion === '1.0') return fault('bad_request', 'HTTP/1.0 has no transfer codings.');
    if (length !== undefined) return fault('bad_request', 'The content is framed in two ways.');
    const codings = coding.toLowerCase();
    if (codings === 'chunked') return expectationFault(headers);
    // RFC 9112 §6.3: the end of this body is unknown.
    if (!/,[ \t]*chunked$/.test(codings)) return fault('bad_request', 'The last transfer coding is not chunked.');
    // Node decodes only `chunked`. A backend would get a body in the other codings without their names.
    return fault('not_implemented', 'This transfer coding is not supported.');
  }
  if (length !== undefined && !Number.isSafeInteger(Number(length))) {
    return fault('content_too_large', 'The content is longer than can be counted.');
  }
  return expectationFault(headers);
}

/** The value of a header as the client sent it, with repeated lines joined. */
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

/** Node's own limit without `maxHeadersCount`: 2,000 names and values, so 1,000 headers. */
const NODE_FIELD_CAP = 1_000;

type LimitedServer = Partial<Pick<Server, 'maxHeadersCount'>> & { [kTargetCap]?: number };

/** Sets the longest target for the checks of requests on this server; 0 for any length. */
export function setTargetCap(server: Server, bytes: number): void {
  (server as LimitedServer)[kTargetCap] = bytes;
}

/** Longest target in bytes on the server of this request; 0 for any length. */
function targetCap(req: IncomingMessage): number {
  return serverOf(req)?.[kTargetCap] ?? 0;
}

/** Number of headers after which the server of this request drops further ones; 0 for never. */
function fieldCap(req: IncomingMessage): number {
  return serverOf(req)?.maxHeadersCount ?? NODE_FIELD_CAP;
}

/** net.Server stores itself on each connection that it accepts. */
function serverOf({ socket }: IncomingMessage): LimitedServer | undefined {
  return (socket as { server?: LimitedServer } | undefined)?.server;
}
