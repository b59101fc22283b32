import type { LimiterMode } from '../core/events.ts';
import type { CounterStore } from './counter-store.ts';
import { DeadlineError, withDeadline } from './deadline.ts';
import type { Debt } from './debts.ts';
import type { LimiterMeter, ModeListener } from './limiter-meter.ts';
import type { Claim, Ruling } from './meter.ts';
import type { SharedMeter } from './shared-meter.ts';
import { SkipRule } from './skip-rule.ts';
import type { StandIn } from './stand-in.ts';

export interface CountedMeterParts {
  readonly store: CounterStore;
  /** Asks the store, in its way. */
  readonly shared: SharedMeter;
  /** Milliseconds that one question may take. */
  readonly timeoutMs: number;
  /** Rules while nobody answers. */
  readonly standIn: StandIn;
  readonly onModeChange: ModeListener;
}

/**
 * Counts in another process of this machine, and lets a stand-in rule while that one is too slow. It never rejects, and
 * takes no longer than its deadline. As with Redis, a claim whose answer was late may have been counted in both
 * places, never in none; but there is no connection that could come and go, and the number of processes is known.
 */
export class CountedMeter implements LimiterMeter {
  readonly #parts: CountedMeterParts;
  readonly #skip = new SkipRule();
  #mode: LimiterMode = 'memory';
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(parts: CountedMeterParts) {
    this.#parts = parts;
  }

  get mode(): LimiterMode {
    return this.#mode;
  }

  take(claim: Claim): Ruling | Promise<Ruling> {
    return this.#skip.skipping || this.#closed ? this.#replace(claim) : this.#ask(claim, this.#skip.era);
  }

  async reset(key: string): Promise<void> {
    this.#parts.standIn.reset(key);
    await this.#timed(this.#parts.shared.reset(key));
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  async #ask(claim: Claim, era: number): Promise<Ruling> {
    const { standIn } = this.#parts;
    let ruling: Ruling;
    let asked: Promise<Ruling> | undefined;
    try {
      asked = this.#payAndTake(claim);
      ruling = await this.#timed(asked);
    } catch (error) {
      this.#failed(era, error as Error, 'error');
      const stood = this.#replace(claim);
      if (asked !== undefined && stood.allowed) this.#notTwice(claim, asked);
      return stood;
    }
    this.#skip.succeeded(era);
    standIn.learn(claim, ruling);
    return ruling;
  }

  /** What this client got while nobody counted for all comes first; both within one deadline. */
  #payAndTake(claim: Claim): Promise<Ruling> {
    const { shared, standIn } = this.#parts;
    const paying = standIn.debts?.empty === false ? standIn.debts.pay(claim.key, this.#charge) : undefined;
    return paying === undefined ? shared.take(claim) : paying.then(() => shared.take(claim));
  }

  #replace(claim: Claim): Ruling {
    return this.#parts.standIn.take(claim, this.#skip.waitMs(Date.now()));
  }

  #notTwice(claim: Claim, asked: Promise<Ruling>): void {
    asked.then(
      ({ allowed }) => {
        if (allowed) this.#parts.standIn.debts?.cancel(claim);
      },
      () => {}, // Not counted, as far as anybody knows: the error was reported when it ended the wait.
    );
  }

  readonly #charge = (debt: Debt): Promise<void> => this.#timed(this.#parts.shared.charge(debt));

  #timed<T>(work: Promise<T>): Promise<T> {
    return withDeadline(work, this.#parts.timeoutMs, this.#onLate);
  }

  readonly #onLate = (): void => {
    if (!this.#skip.skipping) return;
    this.#skip.repliedLate();
    this.#awaitTrial();
  };

  #failed(era: number, error: Error, otherwise: 'error' | 'decisive'): void {
    const failure = error instanceof DeadlineError ? 'silent' : otherwise;
    if (!this.#skip.failed(era, Date.now(), failure)) return;
    this.#awaitTrial();
    this.#become(this.#parts.standIn.mode, error);
  }

  #awaitTrial(): void {
    clearTimeout(this.#timer);
    if (this.#closed) return;
    this.#timer = setTimeout(() => this.#try(), this.#skip.waitMs(Date.now())).unref();
  }

  #try(): void {
    if (!this.#skip.startTrial(Date.now())) {
      if (this.#skip.skipping) this.#awaitTrial();
      return;
    }
    const { era } = this.#skip;
    this.#timed(this.#parts.store.probe()).then(
      () => {
        if (!this.#skip.trialSucceeded(era)) return;
        this.#become('memory', undefined);
        this.#payDebts();
      },
      (error: Error) => this.#failed(era, error, 'decisive'),
    );
  }

  #payDebts(): void {
    const { debts } = this.#parts.standIn;
    if (debts === undefined || debts.empty) return;
    const { era } = this.#skip;
    debts.payAll(this.#charge).catch((error: Error) => this.#failed(era, error, 'error'));
  }

  #become(mode: LimiterMode, error: Error | undefined): void {
    const from = this.#mode;
    if (from === mode || this.#closed) return;
    this.#mode = mode;
    this.#parts.onModeChange(from, mode, error);
  }
}
