import type { ServerResponse } from 'node:http';
import type { Headline, StatusSnapshot, StatusWatcher, TrafficHistory } from '../../index.ts';
import { sendProblem } from './responses.ts';

/** What the page shows: of one process, or of several as one. */
export interface PageFeed {
  /** Rejects when no worker replies. */
  snapshot(): StatusSnapshot | Promise<StatusSnapshot>;
  history(): TrafficHistory | Promise<TrafficHistory>;
  /** @returns Ends it. */
  watch(watcher: StatusWatcher): () => void;
  noteOperator(subject: string, text: string): void;
}

/** Tells the status pages of several gateways apart. */
export interface GatewayIdentity {
  /** What GATEWAY_NAME says. */
  readonly name: string;
  /** Of the machine. */
  readonly host: string;
}

/** What a page is sent: a snapshot with what else the page must know. */
export interface PageState extends StatusSnapshot {
  readonly phase: string;
  /** In one line. */
  readonly headline: Headline;
  /** Which gateway it is. */
  readonly gateway: GatewayIdentity;
  /** Whether there is a token with which one may act. */
  readonly canAct: boolean;
}

/** Each is a connection and some CPU; a wall of screens needs no more. */
const MOST = 16;
/** A page that has not read this much gets nothing more until it has: the next value is whole all the same. */
const MAX_WAITING_BYTES = 256 * 1024;
const RETRY_MS = 2_000;

/** The open status pages: server-sent events. Each text is made once for all of them. */
export class PageConnections {
  readonly #feed: Pick<PageFeed, 'watch'>;
  readonly #stateOf: (snapshot: StatusSnapshot) => PageState;
  readonly #all = new Set<ServerResponse>();
  #leave: (() => void) | undefined;
  /** For pages that open later. */
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
      // This gives the first values, too.
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
