import { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { expect, jest, test } from '@jest/globals';
import { HeaderSpelling } from '../../../lib/proxy/response/header-spelling.ts';
import { MOST_INFORMATIONAL, passInformational } from '../../../lib/proxy/response/informational.ts';
import { ProtocolError } from '../../../lib/proxy/transport/failure.ts';

type Fields = Record<string, string | string[] | undefined>;

/** Of a version of Node that has no `writeInformation()`. */
function olderResponse() {
  const res: Parameters<typeof passInformational>[0] = responseTo();
  const written = jest.fn();
  res.writeInformation = undefined as never;
  res._writeRaw = written;
  return { res, written };
}

function responseTo(version = '1.1') {
  const req = new IncomingMessage(new Socket());
  req.httpVersion = version;
  return new ServerResponse(req);
}

/** Sends it the way of Node 26, and the way of older versions. */
function sent(status: number, fields: Fields, spelling?: HeaderSpelling) {
  const writeInformation = jest.fn();
  passInformational(Object.assign(responseTo(), { writeInformation }), status, fields, 1, spelling);
  const older = olderResponse();
  spelling?.again();
  passInformational(older.res, status, fields, 1, spelling);
  return { lines: writeInformation.mock.calls, raw: older.written.mock.calls };
}

test('passes the status and the headers on, repeated ones line by line, in both ways', () => {
  const fields = { link: ['</a>; rel=preload', '</b>; rel=preload'], 'x-a': '1', 'x-none': undefined };
  const spelling = new HeaderSpelling().read([Buffer.from('X-A'), Buffer.from('1')]);
  expect(sent(103, fields, spelling)).toEqual({
    lines: [
      [
        103,
        [
          ['link', '</a>; rel=preload'],
          ['link', '</b>; rel=preload'],
          ['X-A', '1'],
        ],
      ],
    ],
    raw: [
      ['HTTP/1.1 103 Early Hints\r\nlink: </a>; rel=preload\r\nlink: </b>; rel=preload\r\nX-A: 1\r\n\r\n', 'latin1'],
    ],
  });
  expect(sent(102, {}).raw).toEqual([['HTTP/1.1 102 Processing\r\n\r\n', 'latin1']]);
  expect(sent(199, {}).raw).toEqual([['HTTP/1.1 199 unknown\r\n\r\n', 'latin1']]);
});

test('drops framing, hop-by-hop headers, and those that Connection names', () => {
  const fields = {
    connection: 'x-named',
    'x-named': '1',
    'keep-alive': '1',
    'content-length': '5',
    'transfer-encoding': 'chunked',
  };
  expect(sent(103, fields).lines).toEqual([[103, []]]);
});

test.each([100, 101])('%i without a request for it is an error of the backend', (status) => {
  expect(() => passInformational(responseTo(), status, {}, 1)).toThrow(ProtocolError);
});

test('too many are an error of the backend', () => {
  const res = () => Object.assign(responseTo(), { writeInformation: jest.fn() });
  expect(() => passInformational(res(), 103, {}, MOST_INFORMATIONAL)).not.toThrow();
  expect(() => passInformational(res(), 103, {}, MOST_INFORMATIONAL + 1)).toThrow(ProtocolError);
});

test.each([
  ['x-a', 'a\r\nx-b: 1'],
  ['x-a', 'a\u0001'],
  ['x a', '1'],
])('throws for the header %j with the value %j', (name, value) => {
  const { res, written } = olderResponse();
  expect(() => passInformational(res, 103, { [name]: value }, 1)).toThrow(
    /^(Invalid character in header content|Header name must be a valid)/,
  );
  expect(written).not.toHaveBeenCalled();
});

test('sends nothing to a client of HTTP/1.0, nor once the head is out, nor when the client has left', () => {
  const out = responseTo();
  out.writeHead(200).flushHeaders();
  const gone = responseTo();
  gone.destroy();
  for (const res of [responseTo('1.0'), out, gone]) {
    const writeInformation = jest.fn();
    passInformational(Object.assign(res, { writeInformation }), 103, {}, 1);
    expect(writeInformation).not.toHaveBeenCalled();
  }
});
