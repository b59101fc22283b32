import type { LimiterMode } from '../../core/events.ts';
import { thrownBy } from '../../core/thrown-by.ts';
import { warn } from '../../core/warnings.ts';
import type { Claim, Debt, Decision, ModeListener, SharedMeter, Wait } from '../meter.ts';
import { ForeignKeyError } from '../redis/foreign-key.ts';
import { DeadlineError, Turns, withDeadline } from './deadline.ts';
import type { Fallback } from './fallback.ts';
import { type MissRule, StoreBreaker, type StoreFailure } from './store-breaker.ts';

export interface GuardedStoreParts {
  /** The mode while the store is asked. */
  readonly mode: LimiterMode;
  /** Gives the meter that asks the store; it may be another one after each pause. */
  readonly shared: () => SharedMeter;
  /** Milliseconds that one call of the store may take. */
  readonly timeoutMs: number;
  /** When late replies mean that the store is away. */
  readonly missRule: MissRule;
  /** Decides while the store fails. */
  readonly fallback: Fallback;
  readonly onModeChange: ModeListener;
  /** Schedules a trial of the store after so many milliseconds. A later call replaces an earlier one. */
  readonly tryIn: (waitMs: number) => void;
  /** Called with the error that starts a pause. */
  readonly onPause?: (error: Error) => void;
}

/** Longest wait, in milliseconds, for a reply that no request waits for. */
const PATIENCE_MS = 1_000;
/** Least time, in milliseconds, between two warnings of keys that hold something else: any number of clients may have one. */
const WARN_EVERY_MS = 600_000;

/**
 * Asks a store with a deadline. While the store fails, a fallback decides, and reports to the store afterwards what it admitted.
 *
 * A late reply costs only the request that waited for it: the fallback decides that request, its hit still counts in the store, and
 * the reply corrects the fallback when it comes. The meter that owns this object connects to the store and makes the trials.
 */
export class GuardedStore {
  readonly #parts: GuardedStoreParts;
  readonly #fallback: Fallback;
  readonly #skip: StoreBreaker;
  readonly #turns = new Turns();
  #mode: LimiterMode;
  #closed = false;
  #warnedAt = Number.NEGATIVE_INFINITY;

  constructor(parts: GuardedStoreParts) {
    this.#parts = parts;
    this.#skip = new StoreBreaker(parts.missRule);
    this.#fallback = parts.fallback;
    this.#mode = parts.mode;
  }

  get mode(): LimiterMode {
    return this.#mode;
  }

  get skipping(): boolean {
    return this.#skip.skipping;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** From now on it reports no change of mode and schedules no trial. */
  close(): void {
    this.#closed = true;
  }

  /**
   * Never rejects, and takes no longer than the deadline.
   *
   * @param gate Has to settle before the store can be asked.
   * @param isShared Whether other gateways may still count by themselves: then a hit must also fit into this gateway's part of the limit.
   */
  async ask(claim: Claim, gate?: Promise<unknown>, isShared = false): Promise<Decision> {
    const { era } = this.#skip;
    const part = isShared && this.#fallback.debts !== undefined ? this.#decide(claim) : undefined;
    if (part?.allowed === false) return part;
    const wait: Wait = { decided: undefined };
    const asked = gate === undefined ? this.#payAndTake(claim, wait) : gate.then(() => this.#payAndTake(claim, wait));
    let decision: Decision;
    try {
      decision = await this.timed(asked);
    } catch (error) {
      // The store works. Nothing of this client can be kept there, so nothing is reported to it either.
      const isForeign = error instanceof ForeignKeyError;
      if (isForeign) this.#foreign(error, era);
      else this.#failed(era, error, 'error');
      const stood = part ?? this.#decide(claim);
      wait.decided = stood;
      if (error instanceof DeadlineError) this.#awaitLate(claim, stood, asked);
      else if (!isForeign) this.#fallback.owe(claim, stood.allowed);
      return stood;
    }
    if (this.#skip.succeeded(era)) this.#become(this.#parts.mode, undefined);
    if (part === undefined) this.#fallback.learn(claim, decision);
    return decision;
  }

  /** Has the fallback decide, without asking the store. */
  replace(claim: Claim): Decision {
    const stood = this.#decide(claim);
    this.#fallback.owe(claim, stood.allowed);
    return stood;
  }

  /** Rejects when the store cannot be reached. */
  async reset(key: string): Promise<void> {
    this.#fallback.reset(key);
    await this.timed(this.#parts.shared().reset(key));
  }

  /** Adds the deadline of a request to a call of the store. */
  timed<T>(work: Promise<T>): Promise<T> {
    return withDeadline(work, this.#parts.timeoutMs, this.#turns.current, this.#onLate);
  }

  /** Adds a longer deadline, for a call that no request waits for. */
  patiently<T>(work: Promise<T>): Promise<T> {
    return withDeadline(work, Math.max(this.#parts.timeoutMs, PATIENCE_MS), this.#turns.current, this.#onLate);
  }

  /** Watches a call that has just begun and that no request waits for. Its failure counts like the failure of a request's call. */
  watch(work: Promise<unknown>): void {
    const { era } = this.#skip;
    work.then(
      () => this.#skip.answered(era),
      (error: unknown) => this.#failed(era, error, 'error'),
    );
  }

  /** @returns whether a trial was due. */
  startTrial(): boolean {
    return this.#skip.startTrial(Date.now());
  }

  /** The store may have lost its counts. */
  restore(): void {
    this.#fallback.debts?.restore();
  }

  /**
   * Waits for a trial that has just begun. It decides whether the store is asked from now on.
   *
   * @param onTold Called when everything that was admitted without the store has been reported to it.
   */
  decide(trial: Promise<unknown>, onTold?: () => void): void {
    const { era } = this.#skip;
    trial.then(
      () => {
        if (!this.#skip.trialSucceeded(era)) return;
        this.#become(this.#parts.mode, undefined);
        this.payDebts(onTold);
      },
      (error: unknown) => this.#failed(era, error, 'decisive'),
    );
  }

  /** Schedules the next trial, so that trials do not depend on requests. */
  awaitTrial(): void {
    if (!this.#closed) this.#parts.tryIn(this.#skip.waitMs(Date.now()));
  }

  payDebts(onTold: () => void = () => {}): void {
    const { debts } = this.#fallback;
    if (debts === undefined || debts.empty) onTold();
    else this.watch(debts.payAll(this.#charge).then(onTold));
  }

  /** The connection is lost: the fallback decides, in whatever state the store breaker is. */
  lost(error: Error | undefined): void {
    this.#become(this.#fallback.mode, error);
  }

  /** The connection is back. */
  found(): void {
    this.#skip.end();
  }

  #decide(claim: Claim): Decision {
    return this.#fallback.take(claim, this.#skip.waitMs(Date.now()));
  }

  /** First reports what this client got while the store was away, then asks for the hit; both within one deadline. */
  #payAndTake(claim: Claim, wait: Wait): Promise<Decision> {
    const { shared } = this.#parts;
    const { debts } = this.#fallback;
    const paying = debts?.empty === false ? debts.pay(claim.key, this.#charge) : undefined;
    return paying === undefined ? shared().take(claim, wait) : paying.then(() => shared().take(claim, wait));
  }

  /** After a missed deadline: the late reply corrects the fallback. If the call fails, the hit has to be reported. */
  #awaitLate(claim: Claim, stood: Decision, asked: Promise<Decision>): void {
    asked.then(
      (decision) => {
        this.#compare(claim, stood, decision);
        // While this client has hits to report, the reply lacks them and would set the fallback back.
        if (this.#fallback.debts?.has(claim.key) !== true) this.#fallback.learn(claim, decision);
      },
      () => this.#fallback.owe(claim, stood.allowed),
    );
  }

  /** Charges hits that were admitted here although the store refused them. Late replies come together, so it waits for the end of the turn. */
  #compare(claim: Claim, stood: Decision, { allowed }: Decision): void {
    const { overspending } = this.#fallback;
    if (overspending === undefined || stood.allowed === allowed) return;
    if (!overspending.add(claim, stood.allowed)) return;
    setImmediate(() => {
      // Not repeated when it fails: by the time the store is back, these hits are older than they matter.
      for (const debt of overspending.take()) this.#charge(debt).catch(() => {});
    });
  }

  readonly #charge = async (debt: Debt): Promise<void> => {
    const { era } = this.#skip;
    try {
      await this.patiently(this.#parts.shared().charge(debt));
    } catch (error) {
      if (!(error instanceof ForeignKeyError)) throw error;
      this.#foreign(error, era);
    }
  };

  readonly #onLate = (): void => {
    if (!this.#skip.skipping) return;
    this.#skip.repliedLate();
    this.awaitTrial();
  };

  /** A key of one client holds something else. */
  #foreign(error: ForeignKeyError, era: number): void {
    this.#skip.answered(era);
    this.#warnOf(error);
  }

  #warnOf({ message }: ForeignKeyError): void {
    const now = Date.now();
    if (Math.abs(now - this.#warnedAt) < WARN_EVERY_MS) return;
    this.#warnedAt = now;
    warn('WARN_EXPRESSWAY_REDIS_KEY', message);
  }

  /** @param value The client of Redis, or the function of the app, may reject with anything. */
  #failed(era: number, value: unknown, otherwise: StoreFailure): void {
    const error = thrownBy('The shared store', value) as Error;
    if (error instanceof ForeignKeyError) this.#warnOf(error);
    const late = otherwise === 'decisive' ? 'unanswered' : 'silent';
    const failure = error instanceof DeadlineError ? late : otherwise;
    if (!this.#skip.failed(era, Date.now(), failure)) return;
    this.#parts.onPause?.(error);
    this.awaitTrial();
    this.#become(this.#fallback.mode, error);
  }

  #become(mode: LimiterMode, error: Error | undefined): void {
    const from = this.#mode;
    if (from === mode || this.#closed) return;
    this.#mode = mode;
    this.#parts.onModeChange(from, mode, error);
  }
}
