import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Registry } from 'prom-client';
import { metricsPage } from './metrics-page.ts';

export type Phase = 'starting' | 'running' | 'stopping';

/** What the admin listener shows. */
export interface AdminView {
  readonly phase: Phase;
  status(): object;
}

type Endpoint = (view: AdminView) => { readonly status: number; readonly content: object };

const ENDPOINTS: Readonly<Record<string, Endpoint>> = {
  '/livez': () => ({ status: 200, content: { status: 'alive' } }),
  // Ready means "send me traffic", not "all is well": backends are shared, so were this to follow them, every
  // gateway would leave the balancer at once and clients would lose the 503 that says when to come back.
  '/readyz': ({ phase }) => ({ status: phase === 'running' ? 200 : 503, content: { status: phase } }),
  '/status': (view) => ({ status: 200, content: view.status() }),
};

/**
 * The operator's listener. It never serves traffic, and traffic never reaches it.
 *
 * @param register What `/metrics` shows; without it there is no such page.
 */
export function createAdminServer(view: AdminView, register?: Registry): Server {
  return createServer((req, res) => {
    if (register !== undefined && req.url?.split('?', 1)[0] === '/metrics') {
      void answerMetrics(req, res, register);
    } else {
      answer(req, res, view);
    }
  });
}

function answer(req: IncomingMessage, res: ServerResponse, view: AdminView): void {
  const path = req.url?.split('?', 1)[0] ?? '';
  const endpoint = Object.hasOwn(ENDPOINTS, path) ? ENDPOINTS[path] : undefined;
  if (endpoint === undefined) {
    sendProblem(res, 404, 'Not found');
  } else if (!isRead(req)) {
    refuseMethod(res);
  } else {
    const { status, content } = endpoint(view);
    send(res, status, 'application/json', content);
  }
}

const isRead = ({ method }: IncomingMessage): boolean => method === 'GET' || method === 'HEAD';

async function answerMetrics(req: IncomingMessage, res: ServerResponse, register: Registry): Promise<void> {
  if (!isRead(req)) {
    refuseMethod(res);
    return;
  }
  try {
    const { type, text } = await metricsPage(register, req.headers.accept);
    sendText(res, 200, type, text);
  } catch {
    sendProblem(res, 500, 'The metrics could not be collected');
  }
}

function refuseMethod(res: ServerResponse): void {
  res.setHeader('Allow', 'GET, HEAD');
  sendProblem(res, 405, 'Method not allowed');
}

function sendProblem(res: ServerResponse, status: number, title: string): void {
  send(res, status, 'application/problem+json', { type: 'about:blank', title, status });
}

function send(res: ServerResponse, status: number, type: string, content: object): void {
  sendText(res, status, type, `${JSON.stringify(content)}\n`);
}

function sendText(res: ServerResponse, status: number, type: string, text: string): void {
  res.writeHead(status, {
    'Content-Type': type,
    'Content-Length': Buffer.byteLength(text),
    'Cache-Control': 'no-store',
    'X-Content-Type-Options': 'nosniff',
  });
  // Node leaves the content out of an answer to HEAD.
  res.end(text);
}
