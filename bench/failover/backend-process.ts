import { openSync, writeSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { answerFor, NONCE_FIELD } from '../harness/answer.ts';
import { serveParent } from '../harness/child-side.ts';
import { BACKEND_FIELD, HEALTH_PATH, SERVICE_MS } from './settings.ts';

export type Mode = 'answers' | 'resets' | 'answers 500';

const [port, name, journal] = process.argv.slice(2) as [string, string, string];
const executions = openSync(journal, 'a');
let mode: Mode = 'answers';

function handle(req: IncomingMessage, res: ServerResponse): void {
  if (mode === 'resets') {
    req.socket.resetAndDestroy();
    return;
  }
  const nonce = String(req.headers[NONCE_FIELD] ?? '');
  req.resume().once('end', () => {
    // Written through before anything else: what a killed process had done must still be known.
    if (req.method === 'POST') writeSync(executions, `${nonce}\n`);
    if (req.url === HEALTH_PATH) answer(res, nonce);
    else setTimeout(answer, SERVICE_MS, res, nonce);
  });
}

function answer(res: ServerResponse, nonce: string): void {
  const status = mode === 'answers 500' ? 500 : 200;
  const content = answerFor(nonce);
  res.writeHead(status, {
    'content-type': 'application/json; charset=utf-8',
    'content-length': content.length,
    [BACKEND_FIELD]: name,
  });
  res.end(content);
}

const server = createServer({ keepAliveTimeout: 65_000 }, handle);
server.listen(Number(port), '127.0.0.1', () => {
  serveParent(
    {},
    {
      become: (wanted: Mode) => {
        mode = wanted;
      },
    },
  );
});
