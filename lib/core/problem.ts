import type { ServerResponse } from 'node:http';
import { CAUSES, type Cause } from './causes.ts';
import { grpcMessage, grpcStatusFor, isGrpc, isGrpcCall } from './grpc.ts';
import { acceptsTrailers } from './http.ts';
import { lastResponse } from './last-response.ts';
import { leaveUnread } from './unread-content.ts';

/** Value of `Allow` for CONNECT and TRACE, which are never forwarded. */
export const ALLOWED_METHODS = 'GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS';

export interface ProblemExtras {
  readonly retryAfterMs?: number | undefined;
  /** For the reader of the response. It must not contain internal addresses. */
  readonly detail?: string | undefined;
  /** Replaces the problem document. */
  readonly body?: ErrorBody | undefined;
}

/** A body that the client prefers to a problem document. */
export interface ErrorBody {
  /** Its media type. */
  readonly type: string;
  readonly content: string;
}

/** The headers and texts of a cause. */
interface Problem {
  readonly content: string;
  readonly contentLength: number;
  readonly proxyStatus: string;
}

/** Prepared once per cause, because a rejected client may send requests at a high rate and should cost little. */
const PROBLEMS = Object.freeze(
  Object.fromEntries((Object.keys(CAUSES) as Cause[]).map((cause) => [cause, problem(cause)])),
) as Readonly<Record<Cause, Problem>>;

/** Whole seconds, rounded up, at least 1 (RFC 9110 §10.2.3). */
export function retryAfterSeconds(ms: number): number {
  return Math.max(1, Math.ceil(ms / 1000));
}

/**
 * Sends a problem document (RFC 9457) with a `Proxy-Status` header (RFC 9209) that names the cause. Closes the connection if the cause
 * requires it, or if much of the request body is still to come. Does nothing if the head has been sent already: the caller must
 * then cut the connection. A client of gRPC gets a status of gRPC instead.
 */
export function sendProblem(res: ServerResponse, cause: Cause, extras: ProblemExtras = {}): void {
  if (res.headersSent || res.destroyed) return;
  const { status, closes } = CAUSES[cause];
  const { content, contentLength, proxyStatus } = problemOf(cause, extras.detail);
  const { body, retryAfterMs } = extras;
  const isForGrpc = res.req !== undefined && isGrpcCall(res.req);
  if (isForGrpc) {
    addGrpcStatus(res, cause, extras);
  } else {
    res.statusCode = status;
    res.setHeader('Content-Type', body?.type ?? 'application/problem+json');
    res.setHeader('Content-Length', body === undefined ? contentLength : Buffer.byteLength(body.content));
  }
  res.setHeader('Cache-Control', 'no-store');
  res.setHeader('Proxy-Status', proxyStatus);
  if (retryAfterMs !== undefined) res.setHeader('Retry-After', String(retryAfterSeconds(retryAfterMs)));
  // RFC 9110 §15.5.6: a response with this status says what would be allowed.
  if (status === 405) res.setHeader('Allow', ALLOWED_METHODS);
  if (closes) lastResponse(res);
  else leaveUnread(res);
  if (isForGrpc) res.end();
  else res.end(body?.content ?? content);
}

/**
 * Ends a response of gRPC that has begun, with a status in its trailers. A reset would have the status INTERNAL for the client, which blames
 * the gateway and keeps many clients from trying again.
 *
 * @returns whether it is such a response. Any other one must be cut.
 */
export function endGrpcCall(res: ServerResponse, cause: Cause, detail: string | undefined): boolean {
  const { req } = res;
  if (req === undefined || !isGrpcCall(req) || !isGrpc(res.getHeader('content-type'))) return false;
  // Without chunks, there are no trailers.
  if (!res.headersSent || !res.chunkedEncoding || !acceptsTrailers(req) || res.writableEnded) return false;
  res.addTrailers(grpcStatusFields(cause, detail));
  res.end();
  return true;
}

const grpcStatusFields = (cause: Cause, detail: string | undefined) => {
  const { status, title } = CAUSES[cause];
  const message = grpcMessage(detail === undefined ? title : `${title}: ${detail}`);
  return { 'Grpc-Status': String(grpcStatusFor(status)), 'Grpc-Message': message };
};

/** A response of gRPC without a message: it has the status in its head ("Trailers-Only"). */
function addGrpcStatus(res: ServerResponse, cause: Cause, { detail, retryAfterMs }: ProblemExtras): void {
  res.statusCode = 200;
  res.setHeader('Content-Type', 'application/grpc');
  res.setHeader('Content-Length', 0);
  for (const [name, value] of Object.entries(grpcStatusFields(cause, detail))) res.setHeader(name, value);
  // Clients that retry by a policy of gRPC wait so long.
  if (retryAfterMs !== undefined) res.setHeader('Grpc-Retry-Pushback-Ms', Math.ceil(retryAfterMs));
}

/** The same response as bytes, for a connection that has no response object. It closes the connection. */
export function rawProblem(cause: Cause, detail?: string): string {
  return rawResponse(cause, problemOf(cause, detail), 'Connection: close\r\n');
}

/** The same for a connection that stays open, with head and body separate, because HEAD gets no body. */
export function rawKeptProblem(cause: Cause, retryAfterMs: number, keepAliveMs: number) {
  const kept = keepAliveMs > 0 ? `Keep-Alive: timeout=${Math.floor(keepAliveMs / 1000)}\r\n` : '';
  const whole = rawResponse(
    cause,
    PROBLEMS[cause],
    `Retry-After: ${retryAfterSeconds(retryAfterMs)}\r\nConnection: keep-alive\r\n${kept}`,
  );
  return { whole, head: whole.slice(0, -PROBLEMS[cause].content.length) };
}

function rawResponse(cause: Cause, { content, contentLength, proxyStatus }: Problem, more: string): string {
  const { status, title } = CAUSES[cause];
  const allow = status === 405 ? `Allow: ${ALLOWED_METHODS}\r\n` : '';
  return (
    `HTTP/1.1 ${status} ${title}\r\nContent-Type: application/problem+json\r\n` +
    `Content-Length: ${contentLength}\r\nCache-Control: no-store\r\n` +
    `Proxy-Status: ${proxyStatus}\r\n${allow}Date: ${new Date().toUTCString()}\r\n` +
    `${more}\r\n${content}`
  );
}

const problemOf = (cause: Cause, detail: string | undefined): Problem =>
  detail === undefined ? PROBLEMS[cause] : problem(cause, detail);

function problem(cause: Cause, detail?: string): Problem {
  const { status, title, proxyStatus } = CAUSES[cause];
  const content = JSON.stringify({ type: 'about:blank', title, status, cause, detail });
  const contentLength = Buffer.byteLength(content);
  return Object.freeze({ content, contentLength, proxyStatus: `expressway; error=${proxyStatus}` });
}
