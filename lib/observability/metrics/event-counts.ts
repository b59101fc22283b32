import { type GatewayEvents, subscribe } from '../../core/gateway-events.ts';
import { causeOf } from '../../core/outcome.ts';
import { Counts } from './counts.ts';
import type { DefineMetric } from './metric.ts';

/** Counts of events. A successful request causes none of them. */
export class EventCounts {
  readonly #known: () => ReadonlySet<string>;
  readonly #transitions = new Counts('service', 'circuit', 'to');
  readonly #checks = new Counts('service', 'backend', 'result');
  readonly #attempts = new Counts('service', 'backend', 'cause');
  readonly #retries = new Counts('service', 'reason');
  readonly #modes = new Counts('limiter', 'to');
  readonly #refused = new Counts('cause');
  readonly #lookups = new Counts('service', 'name');
  readonly #mirrored = new Counts('service', 'result');
  #pipelined = 0;
  readonly #unsubscribe: () => void;

  /** @param known The keys of all present circuits, of backends and of routes. */
  constructor(events: GatewayEvents, known: () => ReadonlySet<string>) {
    this.#known = known;
    this.#unsubscribe = subscribe(events, {
      circuitStateChange: ({ service = '', circuit, to }) => this.#transitions.add(service, circuit, to),
      healthChecked: ({ service, backend, error }) =>
        this.#checks.add(service, backend, error === undefined ? 'passed' : 'failed'),
      attemptFailed: ({ service, backend, outcome, retried }) => {
        const cause = outcome.kind === 'completed' ? `status_${outcome.status}` : (causeOf(outcome) ?? outcome.kind);
        this.#attempts.add(service, backend, cause);
        if (retried) this.#retries.add(service, cause);
      },
      limiterModeChange: ({ limiter, to }) => this.#modes.add(limiter, to),
      clientRefused: ({ cause }) => this.#refused.add(cause),
      backendsChanged: () => this.#prune(),
      discoveryFailed: ({ service, name }) => this.#lookups.add(service, name),
      mirrored: ({ service, result }) => this.#mirrored.add(service, result),
      clientPipelined: () => {
        this.#pipelined += 1;
      },
    });
  }

  close(): void {
    this.#unsubscribe();
  }

  define(define: DefineMetric): void {
    const pruned = (counts: Counts) => () => {
      this.#prune();
      return counts.samples();
    };
    define('circuit_transitions_total', 'State changes of circuits.', 'counter', pruned(this.#transitions));
    define('health_checks_total', 'Active health checks that have ended.', 'counter', pruned(this.#checks));
    define(
      'attempt_failures_total',
      'Attempts that failed, also in the middle of a response.',
      'counter',
      pruned(this.#attempts),
    );
    define('retries_total', 'Attempts that were followed by another one.', 'counter', () => this.#retries.samples());
    define('limiter_mode_changes_total', 'Changes of the mode of a limiter.', 'counter', () => this.#modes.samples());
    define('clients_refused_total', 'Connections ended by the hardened server.', 'counter', () =>
      this.#refused.samples(),
    );
    define(
      'discovery_failures_total',
      'DNS lookups of names of backends that began to fail, or failed for another reason.',
      'counter',
      () => this.#lookups.samples(),
    );
    define('mirrored_requests_total', 'Copies of requests that routes mirror.', 'counter', () =>
      this.#mirrored.samples(),
    );
    define('clients_pipelined_total', 'Connections on which a client pipelined requests.', 'counter', () => [
      { labels: {}, value: this.#pipelined },
    ]);
  }

  /** A removed backend may still finish requests, which cause events. */
  #prune(): void {
    const known = this.#known();
    for (const counts of [this.#transitions, this.#checks, this.#attempts]) counts.prune(known);
  }
}
