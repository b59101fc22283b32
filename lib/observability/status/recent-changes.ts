import type { GatewayEventMap, GatewayEvents } from '../../core/events.ts';
import { printable } from '../redaction.ts';
import type { Change } from './status-snapshot.ts';

const KEPT = 20;
const MAX_TEXT = 200;
const MAX_NAMES = 4_096;

/** The latest changes of state, newest first; and who is told at once. */
export class RecentChanges {
  readonly #changed: () => void;
  readonly #unsubscribe: (() => void)[] = [];
  /** When circuit or health of a backend last changed; of those that exist. */
  readonly #changedAt = new Map<string, number>();
  #list: readonly Change[] = [];

  /** @param changed Told after each change. */
  constructor(events: GatewayEvents, changed: () => void) {
    this.#changed = changed;
    const on = <K extends keyof GatewayEventMap>(name: K, listener: (event: GatewayEventMap[K][0]) => void): void => {
      const typed = listener as (...args: GatewayEventMap[K]) => void;
      events.on(name, typed as never);
      this.#unsubscribe.push(() => events.off(name, typed as never));
    };
    on('circuitStateChange', ({ circuit, to }) => {
      this.#remember(circuit);
      this.note('circuit', circuit, `circuit ${to}`, to === 'open');
    });
    on('healthChange', ({ backend, to, error }) => {
      this.#remember(backend);
      this.note('health', backend, error === undefined ? to : `${to}: ${error.message}`, to === 'unhealthy');
    });
    on('limiterModeChange', ({ limiter, to, error }) =>
      this.note('limiter', limiter, `counts with ${to}${error === undefined ? '' : `: ${error.message}`}`, !!error),
    );
    on('backendsChanged', ({ added, removed }) => {
      for (const backend of removed) this.#changedAt.delete(backend);
      const parts = [added.length > 0 && `${added.length} added`, removed.length > 0 && `${removed.length} removed`];
      this.note('backends', [...added, ...removed].join(', '), parts.filter(Boolean).join(', '), false);
    });
    on('discoveryFailed', ({ name, error }) => this.note('discovery', name, error.message, true));
    on('discoveryRecovered', ({ name }) => this.note('discovery', name, 'looked up again', false));
  }

  get list(): readonly Change[] {
    return this.#list;
  }

  changedAt(backend: string): number | undefined {
    return this.#changedAt.get(backend);
  }

  note(kind: Change['kind'], subject: string, text: string, isBad: boolean): void {
    const change = {
      at: Date.now(),
      kind,
      subject: printable(subject, MAX_TEXT),
      text: printable(text, MAX_TEXT),
      isBad,
    };
    this.#list = [change, ...this.#list].slice(0, KEPT);
    this.#changed();
  }

  #remember(name: string): void {
    // The latest last. A backend that left may still tell of a change, and would never be forgotten.
    this.#changedAt.delete(name);
    this.#changedAt.set(name, Date.now());
    const [oldest] = this.#changedAt.keys();
    if (this.#changedAt.size > MAX_NAMES) this.#changedAt.delete(oldest as string);
  }

  close(): void {
    for (const off of this.#unsubscribe.splice(0)) off();
  }
}
