import { clientVersion, foldAddress } from '../../core/connection.ts';
import type { Exchange } from '../../core/exchange.ts';
import { causeOf, type Outcome } from '../../core/outcome.ts';
import type { AttemptHead } from '../../core/recorder.ts';
import { decodedField, MAX_TARGET, MAX_TEXT, printable, type Redaction } from '../access-log/redaction.ts';
import type { Attributes } from './tracing-api.ts';

// Names and rules are those of OpenTelemetry's semantic conventions for HTTP spans, as of their stable form.

export interface AttributeRules {
  /** All other methods are `_OTHER`, because clients can invent methods, and span names must be few. */
  readonly methods: ReadonlySet<string>;
  readonly redaction: Redaction;
  readonly query: boolean;
}

/** The attributes that are known when a request comes. Samplers can use them. */
export function serverAttributes(exchange: Exchange, route: string | undefined, rules: AttributeRules): Attributes {
  const { req, clientAddress } = exchange;
  const { headers, socket } = req;
  const attributes: Attributes = methodAttributes(req.method, rules);
  const { path, query } = parts(decodedField(req.originalUrl ?? req.url ?? ''));
  attributes['url.path'] = shownPath(path, rules);
  if (rules.query && query !== '') attributes['url.query'] = shownQuery(query, rules);
  attributes['url.scheme'] = exchange.scheme;
  const host = exchange.forwardedHost || headers.host;
  if (host !== undefined) Object.assign(attributes, hostAttributes(printable(decodedField(host), MAX_TEXT)));
  if (clientAddress !== undefined) attributes['client.address'] = printable(clientAddress, MAX_TEXT);
  const peer = foldAddress(socket.remoteAddress);
  if (peer !== undefined) attributes['network.peer.address'] = peer;
  attributes['network.protocol.version'] = clientVersion(req).replace('2.0', '2');
  const agent = headers['user-agent'];
  if (agent !== undefined) attributes['user_agent.original'] = printable(decodedField(agent), MAX_TEXT);
  if (route !== undefined) attributes['http.route'] = route;
  return attributes;
}

/** @param resends How many attempts there were before this one. */
export function clientAttributes(
  { req, service }: Exchange,
  backend: string,
  head: AttemptHead,
  resends: number,
  rules: AttributeRules,
): Attributes {
  const attributes: Attributes = methodAttributes(req.method, rules);
  const { path, query } = parts(head.path);
  const shown = rules.query && query !== '' ? `?${shownQuery(query, rules)}` : '';
  attributes['url.full'] = `${backend}${shownPath(path, rules)}${shown}`;
  const [scheme, authority = ''] = backend.split('://', 2);
  // An origin has no port if it is the default of the scheme.
  attributes['server.port'] = scheme === 'https' ? 443 : 80;
  Object.assign(attributes, hostAttributes(authority));
  if (service !== undefined) attributes['expressway.service'] = service;
  attributes['expressway.backend'] = backend;
  if (resends > 0) attributes['http.request.resend_count'] = resends;
  return attributes;
}

/**
 * The attributes of the result. A status is included only if it was sent or received: 499 never is.
 *
 * @param begun The status of a response that has begun.
 */
export function endAttributes(outcome: Outcome, begun: number | undefined): Attributes {
  const attributes: Attributes = {};
  const status = outcome.kind === 'completed' ? outcome.status : begun;
  if (status !== undefined) attributes['http.response.status_code'] = status;
  const grpcStatus = grpcStatusOf(outcome);
  if (grpcStatus !== undefined) attributes['rpc.grpc.status_code'] = grpcStatus;
  const cause = causeOf(outcome);
  if (cause !== undefined) attributes['expressway.cause'] = cause;
  return attributes;
}

/** The gRPC status of a backend's response. Its HTTP status is 200 whether the call failed or not. */
export const grpcStatusOf = (outcome: Outcome): number | undefined =>
  outcome.kind === 'completed' ? outcome.grpcStatus : undefined;

/** The span name: the method, and the route if there is one, but never a path. */
export function spanName(method: string | undefined, route: string | undefined, { methods }: AttributeRules): string {
  const known = method !== undefined && methods.has(method) ? method : 'HTTP';
  return route === undefined ? known : `${known} ${route}`;
}

function methodAttributes(method = '', { methods }: AttributeRules): Attributes {
  if (methods.has(method)) return { 'http.request.method': method };
  return { 'http.request.method': '_OTHER', 'http.request.method_original': method };
}

/** Path and query of a target; in absolute form too (RFC 9112 §3.2.2). */
function parts(target: string): { readonly path: string; readonly query: string } {
  const origin = target.startsWith('/') ? target : target.replace(/^https?:\/\/[^/?#]*/i, '');
  const mark = origin.indexOf('?');
  if (mark === -1) return { path: origin || '/', query: '' };
  return { path: origin.slice(0, mark) || '/', query: origin.slice(mark + 1) };
}

function shownPath(path: string, { redaction }: AttributeRules): string {
  return printable(redaction.url(path.slice(0, MAX_TARGET + 1)), MAX_TARGET);
}

function shownQuery(query: string, { redaction }: AttributeRules): string {
  return printable(redaction.url(`?${query.slice(0, MAX_TARGET)}`).slice(1), MAX_TARGET);
}

const HOST = /^(\[[^\]]+\]|[^:[\]]+)(?::(\d{1,5}))?$/;

function hostAttributes(host: string): Attributes {
  const [, name, port] = HOST.exec(host) ?? [];
  if (name === undefined) return {};
  const address = { 'server.address': name.replace(/^\[|\]$/g, '') };
  return port === undefined ? address : { ...address, 'server.port': Number(port) };
}
