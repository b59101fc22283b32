import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { request as requestTls } from 'node:https';
import { request } from '../../core/node-http.ts';
import type { Config } from '../../gateway/config/config.ts';
import { type Finding, note, ok, warning } from './finding.ts';

const TIMEOUT_MS = 2_000;
/** Upper bound for the status, far above that of a thousand backends. */
const MOST_BYTES = 4_194_304;

/** With workers, `unavailableIn` is the number of workers that send nothing to a backend. */
interface BackendState {
  readonly backend: string;
  readonly circuit: string;
  readonly held?: string;
  readonly available?: boolean;
  readonly processes?: number;
  readonly unavailableIn?: number;
}

/** The part of the admin listener's `/status` that is used. */
interface Status {
  readonly phase: string;
  readonly limiter?: { readonly mode?: string };
  readonly circuit?: { readonly state?: string };
  readonly backends?: readonly BackendState[];
}

/** Whether Expressway is listening: every gateway rejects TRACE itself and never forwards it. */
export async function answersAsGateway({ host, port, tls }: Config): Promise<boolean> {
  // Nothing secret is sent, so the certificate may be for any name.
  const send = tls === undefined ? request : requestTls;
  const asked = send({ ...reach(host, port), method: 'TRACE', path: '/', rejectUnauthorized: false });
  const answer = await answerOf(asked);
  answer?.resume();
  return String(answer?.headers['proxy-status']).startsWith('expressway');
}

/** Problems that a running gateway reports; no findings without one. */
export async function lookAtGateway({ host, port }: { host: string; port: number }): Promise<Finding[]> {
  if (port === 0) return [];
  const answer = await answerOf(request({ ...reach(host, port), path: '/status' }));
  const status = answer && parse(await contentOf(answer));
  return status === undefined ? [] : judge(status);
}

function judge({ phase, limiter, circuit, backends = [] }: Status): Finding[] {
  const findings: Finding[] = [phase === 'running' ? ok('the gateway runs') : note(`the gateway is ${phase}`)];
  const mode = limiter?.mode ?? 'memory';
  if (!['memory', 'redis'].includes(mode)) {
    findings.push(warning(`its limiter works without Redis (${mode})`, 'See the findings about Redis below'));
  }
  if (circuit?.state !== undefined && circuit.state !== 'closed') {
    findings.push(
      warning(`the circuit of the whole route is ${circuit.state}`, 'See the findings about the backends below'),
    );
  }
  for (const state of backends) findings.push(...judgeBackend(state));
  return findings;
}

function judgeBackend({ backend, circuit, held, available, processes = 1, unavailableIn }: BackendState): Finding[] {
  const out = unavailableIn ?? (available === false ? 1 : 0);
  if (out === 0) return [];
  const where = out < processes ? ` in ${out} of ${processes} workers` : '';
  if (held !== undefined) {
    return [
      warning(
        `it sends nothing to ${backend}${where}: an operator has ${held} it`,
        'Restore it when it is to get requests again',
      ),
    ];
  }
  return [
    warning(`it sends nothing to ${backend}${where} (circuit ${circuit})`, 'See the findings about this backend below'),
  ];
}

/** The address of a listener from this machine. A listener on all addresses is reachable on the loopback interface. */
function reach(host: string, port: number) {
  const any: Readonly<Record<string, string>> = { '0.0.0.0': '127.0.0.1', '::': '::1' };
  return { host: any[host] ?? host, port, agent: false as const, headers: { connection: 'close' } };
}

async function answerOf(asked: ReturnType<typeof request>): Promise<IncomingMessage | undefined> {
  asked.on('error', () => {});
  asked.end();
  try {
    const [answer] = await once(asked, 'response', { signal: AbortSignal.timeout(TIMEOUT_MS) });
    return answer as IncomingMessage;
  } catch {
    // The listener is no gateway, or does not respond. That is a finding.
    asked.destroy();
    return undefined;
  }
}

async function contentOf(answer: IncomingMessage): Promise<string> {
  const timer = setTimeout(() => answer.destroy(new Error('too slow')), TIMEOUT_MS);
  let text = '';
  try {
    for await (const chunk of answer.setEncoding('utf8')) {
      text += chunk;
      if (text.length > MOST_BYTES) break;
    }
  } catch {
    return '';
  } finally {
    clearTimeout(timer);
  }
  return text;
}

function parse(text: string): Status | undefined {
  try {
    const status = JSON.parse(text) as Partial<Status> | null;
    return typeof status?.phase === 'string' ? (status as Status) : undefined;
  } catch {
    return undefined;
  }
}
