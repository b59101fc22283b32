import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Logger } from '../logging/logger.ts';
import { isForeign } from './host-check.ts';
import { refuseMethod, sendJson, sendProblem } from './responses.ts';
import type { TokenGuard } from './token-guard.ts';

/** What an operator may do. Who has several processes tells all of them. */
export interface GatewayControl {
  /** @returns whether there is such a backend, as with the two others. Rejects when it was not done, anywhere. */
  drain(backend: string): boolean | Promise<boolean>;
  isolate(backend: string): boolean | Promise<boolean>;
  restore(backend: string): boolean | Promise<boolean>;
  /** Rejects when a shared store could not be told. */
  resetLimit(client: string): Promise<void>;
}

const OPERATOR_ACTS = ['drain', 'isolate', 'restore'] as const;
type OperatorAct = (typeof OPERATOR_ACTS)[number];

/** The acts have no content; some clients send an empty object all the same. */
const MAX_CONTENT_BYTES = 1_024;
const MAX_NAME = 512;

/** The part of the API that changes something. */
export class OperatorApi {
  readonly #control: GatewayControl;
  readonly #guard: TokenGuard;
  readonly #log: Logger;
  readonly #done: (subject: string, text: string) => void;

  /** @param done Told of each act that was done, for all who watch. */
  constructor(control: GatewayControl, guard: TokenGuard, log: Logger, done: (subject: string, text: string) => void) {
    this.#control = control;
    this.#guard = guard;
    this.#log = log;
    this.#done = done;
  }

  /** @returns whether the path is one of its own. */
  answers(path: string, req: IncomingMessage, res: ServerResponse): boolean {
    const [, , what, id, act, ...more] = path.split('/');
    const isHold = what === 'backends' && OPERATOR_ACTS.includes(act as OperatorAct) && more.length === 0;
    if (path === '/api/token') {
      void this.#run('POST', req, res, () => void res.writeHead(204).end());
    } else if (isHold && id) {
      void this.#run('POST', req, res, () => this.#hold(act as OperatorAct, id, req, res));
    } else if (what === 'limits' && id && act === undefined) {
      void this.#run('DELETE', req, res, () => this.#reset(id, req, res));
    } else {
      return false;
    }
    return true;
  }

  /** Answers by itself when it does not. */
  async #admits(method: string, req: IncomingMessage, res: ServerResponse): Promise<boolean> {
    if (req.method !== method) {
      refuseMethod(res, method);
      return false;
    }
    if (
      req.headers['transfer-encoding'] !== undefined ||
      Number(req.headers['content-length'] ?? 0) > MAX_CONTENT_BYTES
    ) {
      res.setHeader('Connection', 'close');
      sendProblem(res, 413, 'Content too large', 'OperatorApi have no content.');
      return false;
    }
    req.resume();
    if (isForeign(req.headers)) {
      sendProblem(res, 403, 'Forbidden', 'The request comes from a page of another site.');
      return false;
    }
    const verdict = await this.#guard.check(req);
    if (verdict === 'right') return true;
    if (verdict === 'gone') return false;
    const by = req.socket.remoteAddress;
    if (verdict === 'off') {
      sendProblem(res, 403, 'Forbidden', 'ADMIN_TOKEN is not set: nobody may act.');
    } else if (verdict === 'too-many') {
      res.setHeader('Retry-After', String(this.#guard.retryAfterSeconds));
      sendProblem(res, 429, 'Too many wrong tokens');
    } else {
      this.#log.warn({ by, path: req.url?.slice(0, MAX_NAME) }, 'operator without the right token');
      res.setHeader('WWW-Authenticate', 'Bearer');
      sendProblem(res, 401, 'Unauthorized', 'The right token must be in Authorization: Bearer.');
    }
    return false;
  }

  async #hold(act: OperatorAct, id: string, req: IncomingMessage, res: ServerResponse): Promise<void> {
    const backend = decoded(id);
    let isFound: boolean;
    try {
      isFound = backend !== undefined && (await this.#control[act](backend));
    } catch (error) {
      this.#log.error({ act, backend, by: req.socket.remoteAddress, error }, 'operator acted in vain');
      sendProblem(res, 503, 'Not done', 'A process of the gateway did not answer; the others are as they were.');
      return;
    }
    if (backend === undefined || !isFound) {
      sendProblem(res, 404, 'No such backend');
      return;
    }
    this.#log.warn({ act, backend, by: req.socket.remoteAddress }, 'operator acted');
    this.#done(backend, PAST[act]);
    sendJson(res, 200, { backend, act });
  }

  async #reset(id: string, req: IncomingMessage, res: ServerResponse): Promise<void> {
    const client = decoded(id);
    if (client === undefined) {
      sendProblem(res, 400, 'Bad request', 'The name of the client cannot be read.');
      return;
    }
    const by = req.socket.remoteAddress;
    try {
      await this.#control.resetLimit(client);
    } catch (error) {
      this.#log.error({ act: 'reset', client, by, error }, 'operator acted: the shared store was not told');
      sendProblem(
        res,
        502,
        'The shared store was not told',
        'This gateway has forgotten the client; others may not have.',
      );
      return;
    }
    this.#log.warn({ act: 'reset', client, by }, 'operator acted');
    this.#done(client, 'limit reset by an operator');
    res.writeHead(204).end();
  }

  async #run(
    method: string,
    req: IncomingMessage,
    res: ServerResponse,
    act: () => void | Promise<void>,
  ): Promise<void> {
    try {
      if (await this.#admits(method, req, res)) await act();
    } catch (error) {
      this.#log.error({ error }, 'an act of the admin API failed');
      if (!res.headersSent) sendProblem(res, 500, 'Internal error');
    }
  }
}

const PAST: Readonly<Record<OperatorAct, string>> = {
  drain: 'drained by an operator',
  isolate: 'isolated by an operator',
  restore: 'restored by an operator',
};

function decoded(id: string): string | undefined {
  try {
    const text = decodeURIComponent(id);
    return text.length <= MAX_NAME ? text : undefined;
  } catch {
    return undefined;
  }
}
