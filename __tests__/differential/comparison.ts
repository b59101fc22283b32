import { requestGuard } from 'expressway';
import { normalTarget } from '../../lib/ingress/request-target.ts';
import { CLIENT_CORPUS } from '../fuzz/client-corpus.ts';
import { pathOf } from '../fuzz/request-reader.ts';
import { Cleanup } from '../support/gateway.ts';
import { hardenedGateway } from '../support/hardened-gateway.ts';
import { pause } from '../support/pause.ts';
import { RawClient } from '../support/raw-client.ts';
import { RecorderBackend } from '../support/recorder-backend.ts';
import { startReference } from './reference-proxy.ts';

/** What became of the same bytes at one proxy: the requests that it sent on, and how it answered where it sent none. */
export interface Verdict {
  readonly forwarded: readonly string[];
  readonly text: string;
}

export interface Compared {
  readonly id: string;
  readonly ours: Verdict;
  readonly nginx: Verdict;
  readonly haproxy: Verdict;
}

/** Milliseconds without news after which a case is taken to be over. */
const QUIET_MS = 100;
const MOST_MS = 2_000;
/** So many of each proxy share the cases out: most of the time is waiting for news that do not come. */
const CREWS = 4;

/**
 * Sends the corpus to this gateway, nginx and HAProxy, each in front of a backend that takes anything.
 *
 * @param isWanted Which of its cases; all by default.
 * @param quietMs For how long there must be no news; more where the machine may have been too busy for the default.
 */
export async function compare(isWanted: (id: string) => boolean = () => true, quietMs = QUIET_MS): Promise<Compared[]> {
  const wanted = CLIENT_CORPUS.filter(([id]) => isWanted(id));
  const crews = Array.from({ length: Math.min(CREWS, wanted.length) }, (_, crew) =>
    compareCases(
      wanted.filter((_, index) => index % CREWS === crew),
      quietMs,
    ),
  );
  const compared = (await Promise.all(crews)).flat();
  return wanted.map(([id]) => compared.find((one) => one.id === id) as Compared);
}

/** One case after the other, at proxies of their own. */
async function compareCases(cases: readonly (readonly [string, string])[], quietMs: number): Promise<Compared[]> {
  const cleanup = new Cleanup();
  const lane = async (start: (backend: RecorderBackend) => Promise<{ port: number; close(): unknown }>) => {
    const backend = cleanup.add(await RecorderBackend.start(answerAndClose));
    const { port } = cleanup.add(await start(backend));
    return (bytes: string) => judge(port, backend, bytes, quietMs);
  };
  try {
    const ours = await lane((backend) =>
      hardenedGateway({ backends: [backend.url] }, {}, (app) => {
        app.use(requestGuard()).use('/denied', (_req, res) => void res.status(403).end());
      }),
    );
    const nginx = await lane((backend) => startReference('nginx', backend.port));
    const haproxy = await lane((backend) => startReference('HAProxy', backend.port));
    const compared: Compared[] = [];
    for (const [id, bytes] of cases) {
      const verdicts = await Promise.all([ours(bytes), nginx(bytes), haproxy(bytes)]);
      compared.push({ id, ours: verdicts[0], nginx: verdicts[1], haproxy: verdicts[2] });
    }
    return compared;
  } finally {
    await cleanup.run();
  }
}

/** One request per connection: what comes behind it on the same one was no request of the proxy's. */
const answerAndClose: RecorderBackend['script'] = (connection) => {
  connection.end('HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok');
};

async function judge(port: number, backend: RecorderBackend, bytes: string, quietMs: number): Promise<Verdict> {
  const before = backend.requests.length;
  const client = await RawClient.connect(port);
  client.send(bytes);
  const news = () => `${client.pending.length} ${client.closedBy} ${backend.requests.length}`;
  const started = Date.now();
  let last = news();
  let since = started;
  while (Date.now() - since < quietMs && Date.now() - started < MOST_MS) {
    await pause('until the next look', 10);
    if (news() === last) continue;
    last = news();
    since = Date.now();
  }
  client.close();
  const requests = backend.requests.slice(before);
  const forwarded = requests.map(({ method, target }) => `${short(method)} ${short(pathOf(target))}`).sort();
  return { forwarded, text: forwarded.length > 0 ? forwarded.join(', ') : answered(client) };
}

function answered({ pending, closedBy }: RawClient): string {
  const status = /^HTTP\/1\.[01] (\d{3})/.exec(pending.toString('latin1'))?.[1];
  return status ?? (closedBy === undefined ? 'waits' : 'closes');
}

const short = (target: string) => (target.length > 30 ? `${target.slice(0, 20)}…` : target);

/** Requests that we send on and both others do not, in any spelling of their path: there must be none. */
export function onlyOurs({ ours, nginx, haproxy }: Compared): string[] {
  const theirs = new Set([...nginx.forwarded, ...haproxy.forwarded].map(normal));
  return ours.forwarded.filter((one) => !theirs.has(normal(one)));
}

function normal(request: string): string {
  const [method = '', path = ''] = request.split(' ');
  return `${method} ${normalTarget(path, true)}`;
}

/** Whether not all three send on the same. */
export function differs({ ours, nginx, haproxy }: Compared): boolean {
  return `${ours.forwarded}` !== `${nginx.forwarded}` || `${ours.forwarded}` !== `${haproxy.forwarded}`;
}
