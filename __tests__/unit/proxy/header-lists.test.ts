import { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { expect, jest, test } from '@jest/globals';
import { Exchange } from '../../../lib/core/exchange.ts';
import type { FailureCause } from '../../../lib/core/outcome.ts';
import { headerRules } from '../../../lib/proxy/header-rules.ts';
import { applyResponseHead, closesIdleConnection } from '../../../lib/proxy/response/response-head.ts';
import { ResponseRules } from '../../../lib/proxy/response/response-rules.ts';
import { addTrailers } from '../../../lib/proxy/response/trailers.ts';
import { failureCause } from '../../../lib/proxy/transport/failure.ts';

function exchange() {
  const req = new IncomingMessage(new Socket());
  req.httpVersion = '1.1';
  req.headers.te = 'trailers';
  return { req, res: new ServerResponse(req) };
}

// RFC 9110 §6.5.1: framing, routing, request modifiers, authentication, cookies, caching, and what a cache or a client would act on.
test.each([
  ...['content-length', 'transfer-encoding', 'host', 'content-encoding', 'content-type', 'content-range', 'trailer'],
  ...['max-forwards', 'expect', 'range', 'if-none-match', 'cookie', 'set-cookie', 'authorization', 'www-authenticate'],
  ...['age', 'cache-control', 'date', 'expires', 'location', 'pragma', 'retry-after', 'vary', 'via', 'warning'],
  ...['forwarded', 'x-forwarded-host', 'access-control-allow-origin', 'proxy-status', 'ratelimit', 'ratelimit-policy'],
])('%s is never a trailer', (name) => {
  const { res } = exchange();
  const added = jest.spyOn(res, 'addTrailers').mockImplementation(() => {});
  addTrailers(res, { [name]: 'x', 'x-sum': '1' }, undefined);
  expect(added.mock.calls[0]?.[0]).toEqual([['x-sum', '1']]);
});

test.each([
  ...['accept-ch', 'access-control-expose-headers', 'cache-status', 'clear-site-data', 'critical-ch', 'link'],
  ...['proxy-status', 'ratelimit', 'ratelimit-policy', 'server-timing', 'set-cookie', 'vary'],
])('%s of the backend joins that of the app', (name) => {
  const { res } = exchange();
  res.setHeader(name, 'app');
  applyResponseHead(res, 200, undefined, { [name]: 'backend' });
  expect([res.getHeader(name)].flat().join(', ').split(', ').sort()).toEqual(['app', 'backend']);
});

test.each<[number, string | undefined, boolean]>([
  [408, 'close', true],
  [408, 'x-a, Close\t, x-b', true],
  [408, 'closed', false],
  [408, 'x-close', false],
  [408, undefined, false],
  [503, 'close', false],
])('a %i with Connection: %s is the end of an idle connection: %p', (status, connection, expected) => {
  expect(closesIdleConnection(status, connection === undefined ? {} : { connection })).toBe(expected);
});

test.each(['content-type', 'cache-control', 'etag', 'content-security-policy'])(
  '%s of the backend replaces that of the app',
  (name) => {
    const { res } = exchange();
    res.setHeader(name, 'app');
    applyResponseHead(res, 200, undefined, { [name]: 'backend' });
    expect(res.getHeader(name)).toBe('backend');
  },
);

test.each(['server', 'x-powered-by', 'x-aspnet-version', 'x-aspnetmvc-version'])('hideServer removes %s', (name) => {
  const { req, res } = exchange();
  const given = { [name]: 'x', 'x-a': '1' };
  expect(new ResponseRules({ hideServer: true }).apply(200, given, new Exchange(req, res))).toEqual({ 'x-a': '1' });
  expect(new ResponseRules({}).apply(200, given, new Exchange(req, res))).toEqual(given);
});

test.each(['connection', 'content-length', 'host', 'keep-alive', 'te', 'trailer', 'transfer-encoding', 'upgrade'])(
  'a rule cannot set %s, in any spelling',
  (name) => {
    for (const one of [name, name.toUpperCase()]) {
      expect(headerRules({ set: { [one]: 'x' } })).toHaveLength(1);
      expect(headerRules({ add: { [one]: 'x' } })).toHaveLength(1);
    }
  },
);

test.each<[string, FailureCause]>([
  ['ENOTFOUND', 'dns_error'],
  ['EAI_AGAIN', 'dns_error'],
  ['EAI_FAIL', 'dns_error'],
  ['ECONNREFUSED', 'connection_refused'],
  ['EHOSTUNREACH', 'destination_ip_unroutable'],
  ['ENETUNREACH', 'destination_ip_unroutable'],
  ['ETIMEDOUT', 'connection_timeout'],
  ['UND_ERR_CONNECT_TIMEOUT', 'connection_timeout'],
  ['UND_ERR_HEADERS_TIMEOUT', 'http_response_timeout'],
  ['UND_ERR_BODY_TIMEOUT', 'connection_read_timeout'],
  ['UND_ERR_HEADERS_OVERFLOW', 'http_response_header_section_size'],
  ['UND_ERR_RES_CONTENT_LENGTH_MISMATCH', 'http_protocol_error'],
  ['ERR_INVALID_CHAR', 'http_protocol_error'],
  ['ERR_HTTP_INVALID_HEADER_VALUE', 'http_protocol_error'],
  ['ERR_INVALID_HTTP_TOKEN', 'http_protocol_error'],
  ['ERR_EXPRESSWAY_PROTOCOL', 'http_protocol_error'],
  ['ERR_HTTP2_ERROR', 'http_protocol_error'],
  ['HPE_INVALID_CONSTANT', 'http_protocol_error'],
  ['EPROTO', 'tls_protocol_error'],
  ['ERR_SSL_WRONG_VERSION_NUMBER', 'tls_protocol_error'],
  ['ERR_TLS_HANDSHAKE_TIMEOUT', 'tls_protocol_error'],
  ['ERR_TLS_CERT_ALTNAME_INVALID', 'tls_certificate_error'],
  ['CERT_HAS_EXPIRED', 'tls_certificate_error'],
  ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'tls_certificate_error'],
  ['SELF_SIGNED_CERT_IN_CHAIN', 'tls_certificate_error'],
  ['DEPTH_ZERO_SELF_SIGNED_CERT', 'tls_certificate_error'],
  ['ECONNRESET', 'connection_terminated'],
  ['ESOMETHING', 'connection_terminated'],
  ['', 'connection_terminated'],
])('an error %s has the cause %s, and behind the head it is an incomplete response', (code, cause) => {
  const error = Object.assign(new Error('x'), { code });
  expect(failureCause(error, false)).toBe(cause);
  const isSilence = cause === 'connection_read_timeout';
  expect(failureCause(error, true)).toBe(isSilence ? cause : 'http_response_incomplete');
});

test.each<[string, object, FailureCause]>([
  ['of its parser, in a version without codes', { name: 'HTTPParserError' }, 'http_protocol_error'],
  ['for a 100 that no request asked for', { code: 'UND_ERR_SOCKET', message: 'bad response' }, 'http_protocol_error'],
  ['for a 101 that no request asked for', { code: 'UND_ERR_SOCKET', message: 'bad upgrade' }, 'http_protocol_error'],
  ['for another end', { code: 'UND_ERR_SOCKET', message: 'other side closed' }, 'connection_terminated'],
])('an error of undici %s has its cause', (_what, facts, cause) => {
  expect(failureCause(Object.assign(new Error('x'), facts), false)).toBe(cause);
});
