import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Logger } from '../logging/logger.ts';
import { refuseMethod, sendJson, sendProblem } from './responses.ts';
import type { TokenGuard } from './token-guard.ts';

/** The actions of an operator on a backend. */
export const OPERATIONS = ['drain', 'isolate', 'restore'] as const;
export type Operation = (typeof OPERATIONS)[number];

/** One action of an operator on a backend. */
export interface BackendOperation {
  readonly operation: Operation;
  /** Origin of the backend. */
  readonly backend: string;
  /** Name of the service; without it, every service that has the backend. */
  readonly service?: string | undefined;
}

/** Applies the actions of operators in all processes of the gateway. */
export interface GatewayControl {
  /** @returns the names of the services that have the backend. If it rejects, nothing was changed in any process. */
  operate(operation: BackendOperation): readonly string[] | Promise<readonly string[]>;
  /** Rejects when the shared store cannot be reached. */
  resetLimit(client: string): Promise<void>;
}

/** Most bytes of a request body. Requests need none, but some clients send an empty object. */
const MAX_CONTENT_BYTES = 1_024;
const MAX_NAME = 512;

/** The part of the API that changes state. */
export class OperatorApi {
  readonly #control: GatewayControl;
  readonly #guard: TokenGuard;
  readonly #log: Logger;
  readonly #done: (subject: string, text: string) => void;

  /** @param done Called after each change, so that open status pages show it. */
  constructor(control: GatewayControl, guard: TokenGuard, log: Logger, done: (subject: string, text: string) => void) {
    this.#control = control;
    this.#guard = guard;
    this.#log = log;
    this.#done = done;
  }

  /** @returns whether the path is one of its own. */
  answers(path: string, req: IncomingMessage, res: ServerResponse): boolean {
    const [, , what, id, name, ...more] = path.split('/');
    const operation = OPERATIONS.find((one) => one === name);
    if (path === '/api/token') {
      void this.#run('POST', req, res, () => void res.writeHead(204).end());
    } else if (what === 'backends' && id && operation !== undefined && more.length === 0) {
      void this.#run('POST', req, res, () => this.#operate(operation, id, req, res));
    } else if (what === 'limits' && id && name === undefined) {
      void this.#run('DELETE', req, res, () => this.#reset(id, req, res));
    } else {
      return false;
    }
    return true;
  }

  /** Whether the request may act; responds with an error if not. */
  async #admits(method: string, req: IncomingMessage, res: ServerResponse): Promise<boolean> {
    if (req.method !== method) {
      refuseMethod(res, method);
      return false;
    }
    if (
      req.headers['transfer-encoding'] !== undefined ||
      Number(req.headers['content-length'] ?? 0) > MAX_CONTENT_BYTES
    ) {
      sendProblem(res, 413, 'Content too large', 'A request to this API has no content.');
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
      sendProblem(
        res,
        403,
        'Forbidden',
        'ADMIN_TOKEN is not set, so changes are not allowed. Set it and restart the gateway.',
      );
    } else if (verdict === 'too-many') {
      res.setHeader('Retry-After', String(this.#guard.retryAfterSeconds));
      const seconds = this.#guard.retryAfterSeconds;
      sendProblem(res, 429, 'Too many wrong tokens', `Try again in ${seconds} s.`);
    } else {
      this.#log.warn({ by, path: req.url?.slice(0, MAX_NAME) }, 'a request to the admin API without the right token');
      res.setHeader('WWW-Authenticate', 'Bearer');
      const [title, detail] =
        req.headers.authorization === undefined
          ? ['Token missing', 'Send the value of ADMIN_TOKEN in Authorization: Bearer.']
          : ['Wrong token', 'The token is not the value of ADMIN_TOKEN.'];
      sendProblem(res, 401, title, detail);
    }
    return false;
  }

  async #operate(operation: Operation, id: string, req: IncomingMessage, res: ServerResponse): Promise<void> {
    const backend = decoded(id);
    const parameters = new URLSearchParams(req.url?.split('?')[1]);
    const service = parameters.get('service') ?? undefined;
    // A misspelt name would otherwise change all services.
    if (parameters.size > 1 || (parameters.size === 1 && service === undefined)) {
      sendProblem(res, 400, 'Bad request', 'The query may have one parameter: service, the name of one service.');
      return;
    }
    const facts = { operation, backend, service: service?.slice(0, MAX_NAME), by: req.socket.remoteAddress };
    let services: readonly string[] = [];
    try {
      if (backend !== undefined) services = await this.#control.operate({ operation, backend, service });
    } catch (error) {
      this.#log.error({ ...facts, error }, `an operator could not ${operation} a backend`);
      sendProblem(res, 503, 'Not done', 'A process of the gateway did not respond, so nothing was changed.');
      return;
    }
    if (backend === undefined || services.length === 0) {
      const title = service === undefined ? 'No such backend' : 'No such backend of this service';
      sendProblem(res, 404, title, 'Give its origin, percent-encoded, as GET /api/backends has it (backend, service).');
      return;
    }
    this.#log.warn(facts, `backend ${PAST[operation]}`);
    this.#done(backend, PAST[operation]);
    sendJson(res, 200, { backend, operation, services });
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
      this.#log.error({ client, by, error }, 'an operator reset a limit: the shared store did not reset it');
      sendProblem(
        res,
        502,
        'Reset in this gateway only',
        'The shared store did not reset the limit, so other gateways may still limit the client.',
      );
      return;
    }
    this.#log.warn({ client, by }, 'limit reset by an operator');
    this.#done(client, 'limit reset by an operator');
    res.writeHead(204).end();
  }

  async #run(
    method: string,
    req: IncomingMessage,
    res: ServerResponse,
    work: () => void | Promise<void>,
  ): Promise<void> {
    try {
      if (await this.#admits(method, req, res)) await work();
    } catch (error) {
      this.#log.error({ error }, 'a request to the admin API failed');
      if (!res.headersSent) sendProblem(res, 500, 'Internal error');
    }
  }
}

const PAST: Readonly<Record<Operation, string>> = {
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

/** Whether the browser says that the request comes from a page of another site. */
function isForeign(headers: NodeJS.Dict<string | string[]>): boolean {
  const { origin, host } = headers;
  const site = headers['sec-fetch-site'];
  if (site !== undefined && site !== 'same-origin' && site !== 'none') return true;
  return origin !== undefined && URL.parse(String(origin))?.host !== host;
}
