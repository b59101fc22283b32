import type { IncomingMessage } from 'node:http';
import { clientVersion } from './connection.ts';

/** The gRPC status codes that the gateway itself sends, or that say something about a backend. */
const UNKNOWN = 2;
const INVALID_ARGUMENT = 3;
const DEADLINE_EXCEEDED = 4;
const PERMISSION_DENIED = 7;
const RESOURCE_EXHAUSTED = 8;
const UNIMPLEMENTED = 12;
const INTERNAL = 13;
const UNAVAILABLE = 14;
const DATA_LOSS = 15;
const UNAUTHENTICATED = 16;

/**
 * Statuses that count against a backend. Statuses that a client can cause at will do not count: a client chooses its deadline
 * (DEADLINE_EXCEEDED), and may call an unknown method (UNIMPLEMENTED).
 */
const FAILURES: ReadonlySet<number | undefined> = new Set([UNKNOWN, INTERNAL, UNAVAILABLE, DATA_LOSS]);

const BY_HTTP_STATUS: Readonly<Record<number, number>> = {
  400: INVALID_ARGUMENT,
  401: UNAUTHENTICATED,
  403: PERMISSION_DENIED,
  404: UNIMPLEMENTED,
  405: UNIMPLEMENTED,
  408: DEADLINE_EXCEEDED,
  413: RESOURCE_EXHAUSTED,
  414: INVALID_ARGUMENT,
  429: RESOURCE_EXHAUSTED,
  431: RESOURCE_EXHAUSTED,
  500: INTERNAL,
  501: UNIMPLEMENTED,
  502: UNAVAILABLE,
  503: UNAVAILABLE,
  504: DEADLINE_EXCEEDED,
};

const GRPC = /^application\/grpc(?:[+;]|$)/i;

export const isGrpc = (contentType: unknown): boolean => typeof contentType === 'string' && GRPC.test(contentType);

/** Whether a request is a gRPC call, which is possible only over HTTP/2. */
export const isGrpcCall = (req: IncomingMessage): boolean =>
  isGrpc(req.headers['content-type']) && clientVersion(req) === '2.0';

/** The gRPC status in the trailers of a response, or in a head without a body; `undefined` if there is no valid one. */
export function grpcStatusIn(fields: Readonly<Record<string, string | string[] | undefined>>): number | undefined {
  const text = fields['grpc-status'];
  return typeof text === 'string' && /^\d{1,3}$/.test(text) ? Number(text) : undefined;
}

/** Whether a status of gRPC counts against the backend. */
export const isGrpcFailure = (status: number | undefined): boolean => FAILURES.has(status);

/** The status of gRPC for a response that the gateway sends itself. */
export const grpcStatusFor = (httpStatus: number): number => BY_HTTP_STATUS[httpStatus] ?? UNKNOWN;

/** Encodes a text for `grpc-message`: percent signs, and all characters but printable ASCII, are percent-encoded. */
export const grpcMessage = (text: string): string =>
  text.replace(/[^\x20-\x24\x26-\x7e]/gu, (char) =>
    [...Buffer.from(char)].map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`).join(''),
  );
