import type { Backend } from '../backend.ts';

export interface EjectionRule {
  /** Share of the backends, from 0 to 1, that may be out at once because of their health. */
  readonly maxUnavailableRatio: number;
  /** Whether to use all backends when more than that share would have to be out. */
  readonly panic: boolean;
}

/**
 * Decides which suspects of a pool get no requests: backends that are unhealthy, or asked for a rest by `Retry-After`. The last backend always
 * stays in use: if the checks are wrong, it still serves, and if they are right, nothing is lost. Backends of weight 0 do not count, and
 * neither do open circuits.
 *
 * It runs when a verdict or the membership changes, never per request.
 */
export class Ejections {
  readonly #rule: EjectionRule;
  readonly #members: () => readonly Backend[];
  readonly #readmitted: (() => void) | undefined;
  #hasReadmitted = false;
  /** Suspects, in the order in which they became suspect. */
  readonly #suspects = new Set<Backend>();
  readonly #rests = new Map<Backend, NodeJS.Timeout>();

  /** @param readmitted Called when backends that were out are back in. */
  constructor(rule: EjectionRule, members: () => readonly Backend[], readmitted?: () => void) {
    this.#rule = rule;
    this.#members = members;
    this.#readmitted = readmitted;
  }

  /** A backend's verdict or rest has changed. */
  reconsider(backend: Backend): void {
    const isSuspect = backend.health.verdict === 'unhealthy' || this.#rests.has(backend);
    if (isSuspect === this.#suspects.has(backend)) return;
    if (isSuspect) this.#suspects.add(backend);
    else this.#acquit(backend);
    this.#apply();
    this.#tell();
  }

  /** Makes a backend a suspect for some milliseconds; of several rests, the one that ends last counts. */
  rest(backend: Backend, ms: number): void {
    // The response may have come after its backend was removed.
    if (!this.#members().includes(backend)) return;
    const until = Date.now() + ms;
    if (until <= backend.health.restsUntil) return;
    this.#endRest(backend);
    backend.health.restsUntil = until;
    this.#rests.set(backend, setTimeout(() => this.#rested(backend), ms).unref());
    this.reconsider(backend);
  }

  membershipChanged(removed: readonly Backend[]): void {
    for (const backend of removed) {
      this.#endRest(backend);
      this.#acquit(backend);
    }
    this.#apply();
    this.#tell();
  }

  close(): void {
    for (const backend of [...this.#rests.keys()]) this.#endRest(backend);
  }

  #apply(): void {
    const { maxUnavailableRatio, panic } = this.#rule;
    const suspects = [...this.#suspects].filter((backend) => backend.weight > 0);
    if (suspects.length === 0) return;
    const count = this.#members().filter((backend) => backend.weight > 0).length;
    const most = mostOut(count, maxUnavailableRatio);
    const out = suspects.length > most && panic ? 0 : most;
    for (const [index, backend] of suspects.entries()) {
      if (index < out) backend.health.isEjected = true;
      else this.#readmit(backend);
    }
  }

  #acquit(backend: Backend): void {
    this.#suspects.delete(backend);
    this.#readmit(backend);
  }

  #readmit(backend: Backend): void {
    if (!backend.health.isEjected) return;
    backend.returned();
    backend.health.isEjected = false;
    this.#hasReadmitted = true;
  }

  /** Calls back after all decisions, because the callback may send a request at once. */
  #tell(): void {
    if (!this.#hasReadmitted) return;
    this.#hasReadmitted = false;
    this.#readmitted?.();
  }

  #rested(backend: Backend): void {
    this.#endRest(backend);
    this.reconsider(backend);
  }

  #endRest(backend: Backend): void {
    clearTimeout(this.#rests.get(backend));
    this.#rests.delete(backend);
    backend.health.restsUntil = 0;
  }
}

/** How many of `count` backends may be out: at most a share of `ratio`, and never all. */
function mostOut(count: number, ratio: number): number {
  let most = Math.floor(count * ratio);
  // The product may be rounded down below a whole number: 0.29 * 100 is less than 29.
  if ((most + 1) / count <= ratio) most += 1;
  return Math.min(most, count - 1);
}
