import type { ServerResponse } from 'node:http';
import type { Headline, StatusSnapshot, StatusWatcher, TrafficHistory } from '../../index.ts';
import { sendProblem } from './responses.ts';

/** The data of the page: of one process, or merged from several. */
export interface PageFeed {
  /** Rejects when no worker replies. */
  snapshot(): StatusSnapshot | Promise<StatusSnapshot>;
  history(): TrafficHistory | Promise<TrafficHistory>;
  /** @returns a function that ends the subscription. */
  watch(watcher: StatusWatcher): () => void;
  noteOperator(subject: string, text: string): void;
}

/** Identifies the gateway on its status page. */
export interface GatewayIdentity {
  /** The value of GATEWAY_NAME. */
  readonly name: string;
  /** Host name of the machine. */
  readonly host: string;
}

/** The messages to a page: snapshots with additional facts. */
export interface PageState extends StatusSnapshot {
  readonly phase: string;
  /** The state of the gateway in one line. */
  readonly headline: Headline;
  /** Name and host of the gateway. */
  readonly gateway: GatewayIdentity;
  /** Whether a token is configured, so that operators can make changes. */
  readonly canAct: boolean;
}

/** Most open pages. Each takes a connection and some CPU. */
const MOST = 16;
/** Bytes. A page with more unread data gets no message until it has read it. Messages are complete, so it may miss some. */
const MAX_WAITING_BYTES = 256 * 1024;
const RETRY_MS = 2_000;

/** The open status pages (server-sent events). Each message is made once for all of them. */
export class PageConnections {
  readonly #feed: Pick<PageFeed, 'watch'>;
  readonly #stateOf: (snapshot: StatusSnapshot) => PageState;
  readonly #all = new Set<ServerResponse>();
  #leave: (() => void) | undefined;
  /** The latest messages, for pages that open later. */
  #snapshot: StatusSnapshot | undefined;
  #history: TrafficHistory | undefined;

  constructor(feed: Pick<PageFeed, 'watch'>, stateOf: (snapshot: StatusSnapshot) => PageState) {
    this.#feed = feed;
    this.#stateOf = stateOf;
  }

  add(res: ServerResponse): void {
    if (this.#all.size >= MOST) {
      res.setHeader('Retry-After', '10');
      sendProblem(res, 503, 'Too many open status pages', `At most ${MOST} status pages may be open at a time.`);
      return;
    }
    res.writeHead(200, { 'Content-Type': 'text/event-stream' });
    res.write(`retry: ${RETRY_MS}\n\n`);
    this.#all.add(res);
    if (this.#leave === undefined) {
      // This also sends the first values.
      this.#leave = this.#feed.watch({
        snapshot: (snapshot) => {
          this.#snapshot = snapshot;
          this.#send(() => this.#stateText(snapshot));
        },
        history: (history) => {
          this.#history = history;
          this.#send(() => this.#historyText(history));
        },
      });
    } else {
      if (this.#history !== undefined) res.write(this.#historyText(this.#history));
      if (this.#snapshot !== undefined) res.write(this.#stateText(this.#snapshot));
    }
    res.once('close', () => {
      this.#all.delete(res);
      if (this.#all.size > 0) return;
      this.#leave?.();
      this.#leave = this.#snapshot = this.#history = undefined;
    });
  }

  #send(textOf: () => string): void {
    const ready = [...this.#all].filter((res) => res.writableLength < MAX_WAITING_BYTES);
    if (ready.length === 0) return;
    const text = textOf();
    for (const res of ready) res.write(text);
  }

  #stateText(snapshot: StatusSnapshot): string {
    return `event: state\ndata: ${JSON.stringify(this.#stateOf(snapshot))}\n\n`;
  }

  #historyText(history: TrafficHistory): string {
    return `event: history\ndata: ${JSON.stringify(history)}\n\n`;
  }
}
