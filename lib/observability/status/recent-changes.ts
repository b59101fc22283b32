import { LIMITER_MODE_TEXTS } from '../../core/events.ts';
import { type GatewayEvents, subscribe } from '../../core/gateway-events.ts';
import { printable } from '../access-log/redaction.ts';
import { backendKey } from '../metrics/counts.ts';
import type { Change } from './status-snapshot.ts';

const KEPT = 20;
const MAX_TEXT = 200;
const MAX_NAMES = 4_096;

/** The latest changes of state, newest first; and a callback after each. */
export class RecentChanges {
  readonly #changed: () => void;
  readonly #unsubscribe: () => void;
  /** By `backendKey()`, when circuit or health of a present backend last changed. */
  readonly #changedAt = new Map<string, number>();
  #list: readonly Change[] = [];

  /** @param changed Called after each change. */
  constructor(events: GatewayEvents, changed: () => void) {
    this.#changed = changed;
    this.#unsubscribe = subscribe(events, {
      circuitStateChange: ({ service, circuit, to }) => {
        this.#remember(backendKey(service ?? '', circuit));
        this.note('circuit', circuit, `circuit ${to}`, to === 'open', service);
      },
      healthChange: ({ service, backend, to, error }) => {
        this.#remember(backendKey(service, backend));
        this.note('health', backend, error === undefined ? to : `${to}: ${error.message}`, to === 'unhealthy', service);
      },
      limiterModeChange: ({ limiter, to, error }) =>
        this.note(
          'limiter',
          limiter,
          `${LIMITER_MODE_TEXTS[to]}${error === undefined ? '' : `: ${error.message}`}`,
          !!error,
        ),
      backendsChanged: ({ service, added, removed }) => {
        for (const backend of removed) this.#changedAt.delete(backendKey(service, backend));
        const parts = [added.length > 0 && `${added.length} added`, removed.length > 0 && `${removed.length} removed`];
        this.note('backends', [...added, ...removed].join(', '), parts.filter(Boolean).join(', '), false, service);
      },
      discoveryFailed: ({ service, name, error }) => this.note('discovery', name, error.message, true, service),
      discoveryRecovered: ({ service, name, removed }) =>
        this.note('discovery', name, removed ? 'no longer looked up' : 'looked up again', false, service),
      problem: ({ state, problem: { problem, severity, subject, title } }) => {
        // Circuits and health are noted by their own events.
        if (state === 'lasts' || problem === 'backend_unavailable') return;
        this.note(
          'problem',
          subject,
          state === 'over' ? `No longer: ${title}` : title,
          state === 'began' && severity !== 'notice',
        );
      },
    });
  }

  get list(): readonly Change[] {
    return this.#list;
  }

  changedAt(service: string, backend: string): number | undefined {
    return this.#changedAt.get(backendKey(service, backend));
  }

  /** @param proxy Name of the service that it concerns. */
  note(kind: Change['kind'], subject: string, text: string, isBad: boolean, service?: string): void {
    const change = {
      at: Date.now(),
      kind,
      subject: printable(subject, MAX_TEXT),
      text: printable(text, MAX_TEXT),
      isBad,
      service,
    };
    this.#list = [change, ...this.#list].slice(0, KEPT);
    this.#changed();
  }

  #remember(key: string): void {
    // The latest at the end. A removed backend may still change, and would otherwise stay for ever.
    this.#changedAt.delete(key);
    this.#changedAt.set(key, Date.now());
    const [oldest] = this.#changedAt.keys();
    if (this.#changedAt.size > MAX_NAMES) this.#changedAt.delete(oldest as string);
  }

  close(): void {
    this.#unsubscribe();
  }
}
