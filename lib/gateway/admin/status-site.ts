import { readdirSync, readFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { findPackageJSON } from 'node:module';
import { hostname } from 'node:os';
import { headlineOf, type StatusSnapshot } from '../../index.ts';
import type { Logger } from '../logging/logger.ts';
import { DocPages } from './doc-pages.ts';
import { type GatewayControl, OperatorApi } from './operator-api.ts';
import { type GatewayIdentity, PageConnections, type PageFeed, type PageState } from './page-connections.ts';
import { isRead, refuseMethod, sendJson, sendProblem, sendText } from './responses.ts';
import type { ShownSetting } from './shown-config.ts';
import { TokenGuard } from './token-guard.ts';

/** Parts of the status page and its API. */
export interface StatusSiteParts {
  readonly feed: PageFeed;
  readonly control: GatewayControl;
  /** Token of operators. Without one, changes are not allowed. */
  readonly token: string | undefined;
  /** Name of the gateway on the page. */
  readonly name: string;
  /** Gives the configuration in force. */
  readonly config: () => readonly ShownSetting[];
  readonly log: Logger;
}

const PAGE = new URL('./page/', import.meta.url);

const TYPES: Readonly<Record<string, string>> = {
  html: 'text/html; charset=utf-8',
  css: 'text/css; charset=utf-8',
  js: 'text/javascript; charset=utf-8',
  svg: 'image/svg+xml',
};

const version = (JSON.parse(readFileSync(findPackageJSON(import.meta.url) as string, 'utf8')) as { version: string })
  .version;

const routesOf = ({ routes, routeCount }: StatusSnapshot) => ({ routes, routeCount });

/** The page at `/`, its live events, and the API. */
export class StatusSite {
  readonly #phase: () => string;
  readonly #gateway: GatewayIdentity;
  readonly #guard: TokenGuard;
  readonly #acts: OperatorApi;
  readonly #pages: PageConnections;
  readonly #files = readPageFiles();
  readonly #docs = new DocPages();
  readonly #openApi = readFileSync(new URL('./openapi.json', import.meta.url), 'utf8');
  readonly #log: Logger;
  readonly #reads: Readonly<Record<string, () => object | Promise<object>>>;

  constructor(parts: StatusSiteParts, phase: () => string) {
    const { feed, control, token, name, config, log } = parts;
    this.#phase = phase;
    this.#gateway = { name, host: hostname() };
    this.#log = log;
    this.#guard = new TokenGuard(token);
    this.#acts = new OperatorApi(control, this.#guard, log, (subject, text) => feed.noteOperator(subject, text));
    this.#pages = new PageConnections(feed, (snapshot) => this.#stateOf(snapshot));
    const versions = { expressway: version, node: process.versions.node, v8: process.versions.v8 };
    this.#reads = {
      '/api/status': async () => this.#stateOf(await feed.snapshot()),
      '/api/history': () => feed.history(),
      '/api/backends': async () => ({ backends: (await feed.snapshot()).backends }),
      '/api/routes': async () => routesOf(await feed.snapshot()),
      '/api/config': () => ({ versions, settings: config() }),
    };
  }

  /** @returns whether the path is one of its own. */
  answers(path: string, req: IncomingMessage, res: ServerResponse): boolean {
    if (path.startsWith('/api/') && this.#acts.answers(path, req, res)) return true;
    const file = this.#files.get(path);
    const read = Object.hasOwn(this.#reads, path) ? this.#reads[path] : undefined;
    const isDocs = this.#docs.has(path);
    const isKnown =
      file !== undefined || read !== undefined || isDocs || path === '/events' || path === '/api/openapi.json';
    if (!isKnown) return false;
    if (!isRead(req)) refuseMethod(res, 'GET, HEAD');
    else if (file !== undefined) sendText(res, 200, file.type, file.content);
    else if (isDocs) void this.#sendDocs(res, path);
    else if (read !== undefined) void this.#answer(res, read);
    else if (path === '/api/openapi.json') sendText(res, 200, 'application/json', this.#openApi);
    else if (req.method === 'HEAD') refuseMethod(res, 'GET');
    else this.#pages.add(res);
    return true;
  }

  async #answer(res: ServerResponse, read: () => object | Promise<object>): Promise<void> {
    try {
      sendJson(res, 200, await read());
    } catch (error) {
      this.#log.warn({ error }, 'the state cannot be shown');
      sendProblem(res, 503, 'No state', 'No process of the gateway has reported its state.');
    }
  }

  async #sendDocs(res: ServerResponse, path: string): Promise<void> {
    try {
      const { type, text } = await this.#docs.read(path);
      sendText(res, 200, type, text);
    } catch (error) {
      this.#log.warn({ error }, 'a page of the documentation cannot be read');
      sendProblem(res, 500, 'The page cannot be read');
    }
  }

  #stateOf(snapshot: StatusSnapshot): PageState {
    const phase = this.#phase();
    const headline = headlineOf(phase, snapshot.problems, snapshot.backends);
    return { gateway: this.#gateway, phase, headline, canAct: this.#guard.isOn, ...snapshot };
  }
}

interface PageFile {
  readonly type: string;
  readonly content: Buffer;
}

/** The files of the page by path, read once. Paths of requests are looked up here, and never used as paths of files. */
function readPageFiles(): ReadonlyMap<string, PageFile> {
  const files = new Map<string, PageFile>();
  for (const name of readdirSync(PAGE)) {
    const type = TYPES[name.slice(name.lastIndexOf('.') + 1)];
    if (type === undefined) continue;
    files.set(name === 'index.html' ? '/' : `/${name}`, { type, content: readFileSync(new URL(name, PAGE)) });
  }
  // Browsers request it even for plain text pages.
  files.set('/favicon.ico', files.get('/icon.svg') as PageFile);
  return files;
}
