import type { Options } from 'http-proxy-middleware';
import { afterRead } from '../support/pause.ts';
import { answer, type Script } from '../support/recorder-backend.ts';
import { type Case, GET, type Seen } from '../support/transport-pair.ts';

type Cases = Readonly<Record<string, Case>>;

type Differs = NonNullable<Case['differs']>;

/** Undici does not pass the response on. */
function refused(row: string, code: string): (it: Case) => Differs {
  return ({ listens, request = GET }) => {
    const host = /Host: (.*)\r/.exec(request)?.[1];
    const said = request.startsWith('HEAD')
      ? ''
      : `Error occurred while trying to proxy: ${host}${request.split(' ')[1]}`;
    const made = { fields: [], complete: true };
    return {
      row,
      undici: () =>
        listens
          ? {
              ...made,
              status: 'HTTP/1.1 599 unknown',
              content: 'mine',
              errors: [`${code}, target http://127.0.0.1:SCRIPTED/`],
            }
          : { ...made, status: 'HTTP/1.1 502 Bad Gateway', content: said },
    };
  };
}

/** What undici passes on in place of the native transport's mixture of the response and an error message. */
function passed(row: string, seen: Partial<Seen>): (it: Case) => Differs {
  return () => ({ row, undici: () => seen });
}

const invalid = refused('Responses that are not valid', 'HPE_INVALID_CONSTANT');
const lengths = refused('Contradictory lengths', 'HPE_INVALID_CONTENT_LENGTH');
const unphrased = passed('An empty reason phrase', { status: 'HTTP/1.1 200 ' });
const broken = passed('Responses that break off', { content: 'half', complete: false });

/** The cases that the two transports differ in, by the name of the response. */
const DIFFERS: Readonly<Record<string, (it: Case) => Differs | undefined>> = {
  600: invalid,
  999: invalid,
  'no reason phrase': unphrased,
  'no space after the status': unphrased,
  'an unknown transfer coding': invalid,
  'HTTP/2': invalid,
  'two lengths': lengths,
  // The statuses are the same.
  'a length and chunks': (it) => (it.listens ? lengths(it) : undefined),
  'half a body, then a reset': broken,
  'half a chunk, then a reset': broken,
  'a body without an end, then a reset': broken,
  'a chunk without a size': passed('Responses that break off', {
    status: 'HTTP/1.1 200 OK',
    content: '',
    complete: false,
  }),
  'bytes after the body': (it) =>
    it.request?.startsWith('HEAD')
      ? undefined
      : {
          row: 'Responses that break off',
          undici: () => ({ status: 'HTTP/1.1 200 OK', content: 'ok', complete: true }),
        },
};

function made(kind: string, it: Case): Case {
  const differs = DIFFERS[kind]?.(it);
  return differs === undefined ? it : { ...it, differs };
}

/** Responses of every kind, as they stand on the wire; after each the backend keeps the connection, unless it says otherwise. */
const RESPONSES: Readonly<Record<string, string>> = {
  'a length': 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello',
  'an empty body': 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n',
  chunks: 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n',
  'chunks with extensions': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\n\r\n',
  'chunks with trailers': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n',
  'no chunk': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
  'the end of the connection': 'HTTP/1.1 200 OK\r\n\r\nhelloEND',
  'HTTP/1.0': 'HTTP/1.0 200 OK\r\n\r\nhelloEND',
  'HTTP/1.0 with a length': 'HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello',
  'Connection: close': 'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhelloEND',
  201: 'HTTP/1.1 201 Created\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n',
  204: 'HTTP/1.1 204 No Content\r\n\r\n',
  '204 with a length': 'HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n',
  205: 'HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n',
  206: 'HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-4/9\r\nContent-Length: 5\r\n\r\nhello',
  302: 'HTTP/1.1 302 Found\r\nLocation: http://elsewhere.example/\r\nContent-Length: 0\r\n\r\n',
  304: 'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\n\r\n',
  '304 with a length': 'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\nContent-Length: 5\r\n\r\n',
  401: 'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm="x"\r\nContent-Length: 0\r\n\r\n',
  404: 'HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno',
  418: "HTTP/1.1 418 I'm a Teapot\r\nContent-Length: 0\r\n\r\n",
  451: 'HTTP/1.1 451 Whatever you say\r\nContent-Length: 0\r\n\r\n',
  500: 'HTTP/1.1 500 Internal Server Error\r\nContent-Length: 5\r\n\r\noops!',
  503: 'HTTP/1.1 503 Service Unavailable\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n',
  599: 'HTTP/1.1 599 Strange\r\nContent-Length: 0\r\n\r\n',
  600: 'HTTP/1.1 600 Stranger\r\nContent-Length: 0\r\n\r\n',
  999: 'HTTP/1.1 999 Strangest\r\nContent-Length: 0\r\n\r\n',
  'no reason phrase': 'HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n',
  'no space after the status': 'HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n',
  cookies: 'HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Path=/\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n',
  'repeated headers': 'HTTP/1.1 200 OK\r\nX-List: a\r\nX-List: b\r\nVary: a\r\nVary: b\r\nContent-Length: 0\r\n\r\n',
  'repeated headers of which one counts':
    'HTTP/1.1 200 OK\r\nContent-Type: text/a\r\nContent-Type: text/b\r\nETag: "a"\r\nETag: "b"\r\nContent-Length: 0\r\n\r\n',
  'empty and Latin-1 headers': 'HTTP/1.1 200 OK\r\nX-Empty:\r\nX-Latin: \xe9\xff\r\nContent-Length: 0\r\n\r\n',
  'a header with many bytes': `HTTP/1.1 200 OK\r\nX-Long: ${'a'.repeat(8_000)}\r\nContent-Length: 0\r\n\r\n`,
  'headers for one connection':
    'HTTP/1.1 200 OK\r\nProxy-Authenticate: Basic\r\nUpgrade: h2c\r\nKeep-Alive: timeout=5\r\nContent-Length: 0\r\n\r\n',
  'headers that Connection names':
    'HTTP/1.1 200 OK\r\nConnection: X-Gone, keep-alive\r\nX-Gone: 1\r\nContent-Length: 0\r\n\r\n',
  'Server and Date': 'HTTP/1.1 200 OK\r\nServer: b\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Length: 0\r\n\r\n',
  'an event stream': 'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\nEND',
  'early hints': 'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok',
  processing: 'HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok',
  gzip: 'HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello',
  'bytes after the body': 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok, and more',
  'a folded header': 'HTTP/1.1 200 OK\r\nX-Folded: a\r\n b\r\nContent-Length: 0\r\n\r\n',
  'line feeds alone': 'HTTP/1.1 200 OK\nContent-Length: 2\n\nok',
  'an unknown transfer coding': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n',
  'a header named __proto__': 'HTTP/1.1 200 OK\r\n__proto__: a\r\nconstructor: b\r\nContent-Length: 0\r\n\r\n',
};

/** What is no response, or not a whole one. `RESET` and `END` say how the backend closes. */
const FAILURES: Readonly<Record<string, string>> = {
  'nothing, then the end': 'END',
  'nothing, then a reset': 'RESET',
  'half a head, then the end': 'HTTP/1.1 200 OK\r\nContent-LeEND',
  'half a head, then a reset': 'HTTP/1.1 200 OK\r\nContent-LeRESET',
  'half a body, then the end': 'HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\nhalfEND',
  'half a body, then a reset': 'HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\nhalfRESET',
  'half of a small body, then the end': 'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalfEND',
  'half a chunk, then the end': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalfEND',
  'half a chunk, then a reset': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalfRESET',
  'chunks without the last': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\nEND',
  'a chunk without a size': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n',
  'a body without an end, then a reset': 'HTTP/1.1 200 OK\r\n\r\nhalfRESET',
  'no HTTP': 'garbage\r\n\r\n',
  'another protocol': 'SSH-2.0-OpenSSH_9\r\n',
  'a status line without a version': 'HTTP 200 OK\r\n\r\n',
  'HTTP/2': 'HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n',
  'a status of two digits': 'HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n',
  'a status of four digits': 'HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n',
  'a header without a colon': 'HTTP/1.1 200 OK\r\nBad\r\nContent-Length: 0\r\n\r\n',
  'a space before the colon': 'HTTP/1.1 200 OK\r\nBad : 1\r\nContent-Length: 0\r\n\r\n',
  'a NUL in a header': 'HTTP/1.1 200 OK\r\nBad: a\0b\r\nContent-Length: 0\r\n\r\n',
  'an empty header name': 'HTTP/1.1 200 OK\r\n: 1\r\nContent-Length: 0\r\n\r\n',
  'two lengths': 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nokay',
  'a length that is no number': 'HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok',
  'a length and chunks':
    'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n',
  'a head that is too large': `HTTP/1.1 200 OK\r\n${`X-Long: ${'a'.repeat(1_000)}\r\n`.repeat(40)}Content-Length: 0\r\n\r\n`,
  'an early hint, then the end': 'HTTP/1.1 103 Early Hints\r\n\r\nEND',
  'no response in time': '',
};

const follow =
  (text: string): Script =>
  (socket, request, index) => {
    const [bytes = '', end] = text.split(/(END|RESET)$/);
    if (bytes !== '') answer(bytes)(socket, request, index);
    if (end === 'END') socket.end();
    if (end === 'RESET') afterRead(() => socket.resetAndDestroy(), bytes === '' ? 0 : undefined);
  };

const REQUESTS: Readonly<Record<string, string>> = {
  GET,
  HEAD: GET.replace('GET', 'HEAD'),
  'GET over HTTP/1.0': 'GET /api/x HTTP/1.0\r\nHost: gw.example\r\n\r\n',
  POST: GET.replace('GET', 'POST').replace('X-A: 1', 'Content-Length: 0'),
};

const toScripted =
  (more: Options): Case['options'] =>
  ({ scripted }) => ({ target: `http://127.0.0.1:${scripted}`, ...more });

function* responses(): Generator<[string, Case]> {
  for (const [kind, bytes] of Object.entries(RESPONSES)) {
    for (const [method, request] of Object.entries(REQUESTS)) {
      const script = follow(method === 'HEAD' ? bytes.replace(/\r\n\r\n(?!HTTP).*$/s, '\r\n\r\n') : bytes);
      yield [`${kind}; to ${method}`, made(kind, { request, script, options: toScripted({}) })];
    }
  }
}

function* failures(): Generator<[string, Case]> {
  for (const [kind, bytes] of Object.entries(FAILURES)) {
    const options = toScripted(bytes === '' ? { proxyTimeout: 60 } : {});
    for (const [method, request] of Object.entries({ GET: REQUESTS.GET, POST: REQUESTS.POST })) {
      for (const listens of [false, true]) {
        const name = `${kind}; to ${method}; ${listens ? 'with' : 'without'} a listener`;
        yield [name, made(kind, { request: request as string, script: follow(bytes), options, listens })];
      }
    }
  }
}

export const responseCases: Cases = Object.fromEntries(responses());
export const failureCases: Cases = Object.fromEntries(failures());
