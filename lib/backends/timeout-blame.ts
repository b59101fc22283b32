import type { Circuit } from '../circuit-breaker/circuit.ts';

/** Number of clients that are remembered for each backend. Beyond that, the oldest one is forgotten and may count again. */
const MAX_CLIENTS = 1_000;

/**
 * Decides which response timeouts count against one backend, so that the slow requests of a single client (long polls, say) do
 * not open the circuit for all clients:
 *
 * - A timeout does not count when the backend has shown a sign of life since the request was sent.
 * - A timeout is `repeated` when another one of the same client has counted within the circuit's window since the circuit last
 *   changed state. It counts only if another backend then responds to the same request, because then the request was not the reason.
 */
export class TimeoutBlame {
  readonly #windowMs: number;
  /** Time of the last timeout that counted for each client, oldest first. */
  readonly #counted = new Map<string, number>();
  #signsOfLife = 0;

  constructor(circuit: Pick<Circuit, 'onStateChange' | 'windowMs'>) {
    this.#windowMs = circuit.windowMs || Number.POSITIVE_INFINITY;
    circuit.onStateChange(() => this.#counted.clear());
  }

  /** Number of responses with a status below 500 and of passed health checks. Compare two readings. */
  get signsOfLife(): number {
    return this.#signsOfLife;
  }

  showedLife(): void {
    this.#signsOfLife += 1;
  }

  /**
   * @param signsBefore `signsOfLife` when the request was sent.
   * @param client Its address. A timeout of a client without an address is never `repeated`.
   */
  judge(signsBefore: number, client: string | undefined): 'counts' | 'repeated' | 'alive' {
    if (signsBefore !== this.#signsOfLife) return 'alive';
    if (client === undefined) return 'counts';
    const now = Date.now();
    const before = this.#counted.get(client);
    // A wall clock that is set back starts a new window.
    if (before !== undefined && now >= before && now - before < this.#windowMs) return 'repeated';
    this.#counted.delete(client);
    if (this.#counted.size >= MAX_CLIENTS) this.#counted.delete(this.#counted.keys().next().value as string);
    this.#counted.set(client, now);
    return 'counts';
  }
}
