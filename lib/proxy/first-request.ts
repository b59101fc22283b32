import type { IncomingMessage } from 'node:http';
import type { BackendPool } from '../backends/backend-pool.ts';
import { isOwnAddress } from '../backends/own-address.ts';
import { noticeMaking } from '../core/made-per-request.ts';
import { warnOnce } from '../core/warnings.ts';

const MADE_PER_REQUEST =
  'proxies were made within a minute while requests came in. A proxy that is made for each request has connections, circuits and ' +
  'timers of its own, which are never closed. Call roundRobinProxy() once, where you set up the app.';

/** Looks for mistakes that need a request to be found, because a request shows on which server the proxy is mounted. */
export class FirstRequest {
  readonly #pool: BackendPool;
  readonly #madeAt = Date.now();
  #isFirstOfAll: boolean;
  /** Whether the next request is the first one since the start, or since the backends changed. */
  isDue = true;

  /** @param isManaged Whether the suite itself makes the proxy. Then a new proxy during traffic is no mistake. */
  constructor(pool: BackendPool, isManaged: boolean) {
    this.#pool = pool;
    this.#isFirstOfAll = !isManaged;
  }

  check(req: IncomingMessage): void {
    this.isDue = false;
    this.#warnOfOwnAddress(req);
    if (this.#isFirstOfAll) noticeMaking(req, this.#madeAt, 'WARN_EXPRESSWAY_PROXY_PER_REQUEST', MADE_PER_REQUEST);
    this.#isFirstOfAll = false;
  }

  /** With `via: false`, no other check would find the loop before its requests have used up all resources. */
  #warnOfOwnAddress(req: IncomingMessage): void {
    const { localAddress: address, localPort: port } = req.socket ?? {};
    if (address === undefined || port === undefined) return;
    const own = this.#pool.status().find(({ backend }) => isOwnAddress(backend, { address, port }));
    if (own === undefined) return;
    warnOnce(
      req,
      'WARN_EXPRESSWAY_LOOP',
      `The backend ${own.backend} is this server itself: requests that are forwarded to it come back here. Remove it from the list of backends.`,
    );
  }
}
