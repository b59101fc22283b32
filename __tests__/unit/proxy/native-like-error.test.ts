import { expect, test } from '@jest/globals';
import { errors } from 'undici';
import type { FailureCause } from '../../../lib/core/outcome.ts';
import { nativeLikeError } from '../../../lib/proxy/plugin/plugin-owner.ts';

const parser = (reason: string) =>
  new errors.HTTPParserError(`Response does not match the HTTP/1.1 protocol (${reason})`);
const coded = (code: string) => Object.assign(new Error(code), { code });

test.each<[Error, string, FailureCause?]>([
  [new errors.SocketError('other side closed'), 'ECONNRESET'],
  [new errors.ConnectTimeoutError('connect'), 'ETIMEDOUT'],
  [new errors.HeadersOverflowError('head'), 'HPE_HEADER_OVERFLOW'],
  [new errors.ResponseContentLengthMismatchError('length'), 'HPE_INVALID_CONTENT_LENGTH'],
  [coded('ERR_EXPRESSWAY_PROTOCOL'), 'HPE_INVALID_CONSTANT'],
  [coded('ETIMEDOUT'), 'ECONNRESET', 'http_response_timeout'],
  [coded('ERR_SSL_WRONG_VERSION_NUMBER'), 'EPROTO'],
  [parser('Expected HTTP/, RTSP/ or ICE/'), 'HPE_INVALID_CONSTANT'],
  [parser('Invalid status code'), 'HPE_INVALID_STATUS'],
  [parser('Invalid HTTP version'), 'HPE_INVALID_VERSION'],
  [parser('Invalid header token'), 'HPE_INVALID_HEADER_TOKEN'],
  [parser('Invalid character in chunk size'), 'HPE_INVALID_CHUNK_SIZE'],
  [parser('Missing expected CR after response line'), 'HPE_CR_EXPECTED'],
  [parser('Missing expected LF after header value'), 'HPE_LF_EXPECTED'],
  [parser('Invalid character in Content-Length'), 'HPE_INVALID_CONTENT_LENGTH'],
  [parser('Request has invalid `Transfer-Encoding`'), 'HPE_INVALID_TRANSFER_ENCODING'],
  [parser('something new'), 'HPE_INVALID_CONSTANT'],
])('%s becomes %s, with the original as its cause', (error, code, cause = 'connection_terminated') => {
  const native = nativeLikeError({ kind: 'failed', cause, error, sent: true, headSent: false });
  expect(native).toMatchObject({ code, cause: error });
});

test.each(['ECONNREFUSED', 'ENOTFOUND', 'ECONNRESET', 'DEPTH_ZERO_SELF_SIGNED_CERT'])(
  '%s, which both transports have, stays the error that it is',
  (code) => {
    const error = coded(code);
    const failed = { kind: 'failed', cause: 'connection_refused', error, sent: false, headSent: false } as const;
    expect(nativeLikeError(failed)).toBe(error);
  },
);

test.each([coded('ECONNRESET'), coded('UND_ERR_SOCKET')])(
  '%s, behind the head of the response, is the "aborted" of the native transport',
  (error) => {
    const failed = { kind: 'failed', cause: 'http_response_incomplete', error, sent: true, headSent: true } as const;
    expect(nativeLikeError(failed)).toMatchObject({ message: 'aborted', code: 'ECONNRESET', cause: error });
  },
);
