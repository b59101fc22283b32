import { Cleanup, proxyGateway } from '../support/gateway.ts';
import { RawClient } from '../support/raw-client.ts';
import { answer, RecorderBackend } from '../support/recorder-backend.ts';
import { EARLY, EarlyBackend, upload } from './early-responses.ts';
import { startReference } from './reference-proxy.ts';
import type { Row } from './table.ts';

const UPLOADS = 20;
/** Milliseconds until a client gives up. */
const PATIENCE_MS = 500;

const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';
const CONTINUE = 'HTTP/1.1 100 Continue\r\n\r\n';

/** What a backend sends to a GET request. */
const RESPONSES: Readonly<Record<string, string>> = {
  'C07 100 before the response': CONTINUE + OK,
  'C07 100 that closes': `HTTP/1.1 100 Continue\r\nConnection: close\r\n\r\n${OK}`,
  'C07 103 in HTTP/1.0': `HTTP/1.0 103 Early Hints\r\n\r\n${OK}`,
  'C07 101 without a request for it': `HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n${OK}`,
};

/** Names of files, in UTF-8. In Latin-1, whose character U+010D is CR and U+010A is LF, some of them would end the line. */
const FILE_NAMES: Readonly<Record<string, string>> = {
  'B13 a file name beyond ASCII': 'é 日本 上海.pdf',
  'B13 a file name that hides a header': 'a\u010d\u010aSet-Cookie: evil=1',
  'B13 a file name that hides a response':
    'a\u010d\u010aContent-Length: 0\u010d\u010a\u010d\u010aHTTP/1.1 200 OK\u010d\u010aContent-Length: 4\u010d\u010a\u010d\u010aevil',
};

const dispositionOf = (name: string): string => Buffer.from(`attachment; filename="${name}"`).toString('latin1');

/** What clients get of odd responses through this gateway, nginx and HAProxy. */
export async function compareResponses(uploads = UPLOADS): Promise<Row[]> {
  const rows: Row[] = [];
  for (const kind of Object.keys(EARLY)) {
    const backend = await EarlyBackend.start(kind);
    rows.push(await compareOne(`T06 413 during an upload: ${kind}`, backend, (port) => delivered(port, uploads)));
  }
  for (const [id, bytes] of Object.entries(RESPONSES)) {
    rows.push(await compareOne(id, await RecorderBackend.start(answer(bytes)), statuses));
  }
  for (const [id, name] of Object.entries(FILE_NAMES)) {
    const line = `Content-Disposition: ${dispositionOf(name)}\r\n`;
    const backend = await RecorderBackend.start(answer(OK.replace('\r\n', `\r\n${line}`)));
    rows.push(await compareOne(id, backend, (port) => fileName(port, name)));
  }
  return rows;
}

async function compareOne(
  id: string,
  backend: { readonly port: number; readonly url: string; close(): unknown },
  judge: (port: number) => Promise<string>,
): Promise<Row> {
  const cleanup = new Cleanup();
  cleanup.add(backend);
  try {
    const ours = await judge(cleanup.add(await proxyGateway({ backends: [backend.url] })).port);
    const nginx = await judge(cleanup.add(await startReference('nginx', backend.port)).port);
    const haproxy = await judge(cleanup.add(await startReference('HAProxy', backend.port)).port);
    return { id, ours, nginx, haproxy, why: '' };
  } finally {
    await cleanup.run();
  }
}

async function delivered(port: number, uploads: number): Promise<string> {
  let whole = 0;
  for (let i = 0; i < uploads; i += 1) if ((await upload(port, i)) === '413') whole += 1;
  return `${whole} of ${uploads}`;
}

async function statuses(port: number): Promise<string> {
  const client = await RawClient.connect(port);
  client.send('GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
  const tooLate = setTimeout(() => client.socket.destroy(), PATIENCE_MS);
  await client.closed();
  const waits = client.closedBy === 'closed';
  clearTimeout(tooLate);
  client.close();
  const seen = [...client.pending.toString('latin1').matchAll(/HTTP\/1\.[01] (\d{3})/g)].map(([, status]) => status);
  return [...seen, ...(waits ? ['waits'] : [])].join(', ');
}

/** Whether a client gets the name as the backend sent it, and nothing beside it. */
async function fileName(port: number, name: string): Promise<string> {
  const client = await RawClient.connect(port);
  client.send('GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
  const response = await client.response();
  await client.closed();
  client.close();
  const isSame = response.field('content-disposition') === dispositionOf(name);
  const isAlone = response.field('set-cookie') === undefined && client.pending.length === 0;
  return [isSame ? 'as sent' : 'changed', ...(isAlone ? [] : ['and more'])].join(' ');
}
