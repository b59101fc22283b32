import type { LimiterMode } from '../../core/events.ts';
import type { Claim, Debt, Decision, ModeListener, SharedMeter, Wait } from '../meter.ts';
import { DeadlineError, Turns, withDeadline } from './deadline.ts';
import type { Fallback } from './fallback.ts';
import { type MissRule, StoreBreaker, type StoreFailure } from './store-breaker.ts';

export interface GuardedStoreParts {
  /** The mode while the store is asked. */
  readonly mode: LimiterMode;
  /** The meter that asks the store at this time. */
  readonly shared: () => SharedMeter;
  /** Milliseconds that one call of the store may take. */
  readonly timeoutMs: number;
  /** When late replies mean that the store is away. */
  readonly missRule: MissRule;
  /** Decides while the store fails. */
  readonly fallback: Fallback;
  readonly onModeChange: ModeListener;
  /** Sees to it that the store is tried after so many milliseconds; a later call takes the place of an earlier one. */
  readonly tryIn: (waitMs: number) => void;
  /** Called with the error that starts a pause. */
  readonly onPause?: (error: Error) => void;
}

/** A store that takes longer than this to say that it is back is not back. */
const PATIENCE_MS = 1_000;

/**
 * A store that is asked under a deadline, with a fallback that decides while it fails and tells it afterwards what it let
 * pass. A reply that is late costs only the request that waited for it: the fallback decides that one, its hit still counts in
 * the store, and the reply corrects the fallback when it comes. How the store is reached, and how it is tried, is the affair of the meter that has it.
 */
export class GuardedStore {
  readonly #parts: GuardedStoreParts;
  readonly #fallback: Fallback;
  readonly #skip: StoreBreaker;
  readonly #turns = new Turns();
  #mode: LimiterMode;
  #closed = false;

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

  /** No change of mode is reported any more, and no trial asked for. */
  close(): void {
    this.#closed = true;
  }

  /**
   * Never rejects, and takes no longer than the deadline.
   *
   * @param gate What has to end before the store can be asked.
   * @param isShared Whether others may still count apart: then a claim needs room in this gateway's part of the limit as well.
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
      this.#failed(era, error as Error, 'error');
      const stood = part ?? this.#decide(claim);
      wait.decided = stood;
      if (error instanceof DeadlineError) this.#awaitLate(claim, stood, asked);
      else this.#fallback.owe(claim, stood.allowed);
      return stood;
    }
    if (this.#skip.succeeded(era)) this.#become(this.#parts.mode, undefined);
    if (part === undefined) this.#fallback.learn(claim, decision);
    return decision;
  }

  /** What the fallback says, where the store is not asked. */
  replace(claim: Claim): Decision {
    const stood = this.#decide(claim);
    this.#fallback.owe(claim, stood.allowed);
    return stood;
  }

  /** Rejects when the store could not be told. */
  async reset(key: string): Promise<void> {
    this.#fallback.reset(key);
    await this.timed(this.#parts.shared().reset(key));
  }

  /** A call of the store, with its deadline. */
  timed<T>(work: Promise<T>): Promise<T> {
    return withDeadline(work, this.#parts.timeoutMs, this.#turns.current, this.#onLate);
  }

  /** A call that no request waits for without a deadline of its own. */
  patiently<T>(work: Promise<T>): Promise<T> {
    return withDeadline(work, Math.max(this.#parts.timeoutMs, PATIENCE_MS), this.#turns.current, this.#onLate);
  }

  /** Of a call that has just begun, and that no request waits for: its failure counts like one of a request's. */
  watch(work: Promise<unknown>): void {
    const { era } = this.#skip;
    work.then(
      () => this.#skip.answered(era),
      (error: Error) => this.#failed(era, error, 'error'),
    );
  }

  /** Whether a trial was due. */
  startTrial(): boolean {
    return this.#skip.startTrial(Date.now());
  }

  /** The store may have lost what it had counted. */
  restore(): void {
    this.#fallback.debts?.restore();
  }

  /**
   * Of a trial that has just begun: it decides whether the store is asked from now on.
   *
   * @param onTold Called when the store has all that passed without it.
   */
  decide(trial: Promise<unknown>, onTold?: () => void): void {
    const { era } = this.#skip;
    trial.then(
      () => {
        if (!this.#skip.trialSucceeded(era)) return;
        this.#become(this.#parts.mode, undefined);
        this.payDebts(onTold);
      },
      (error: Error) => this.#failed(era, error, 'decisive'),
    );
  }

  /** So that trials need no requests. */
  awaitTrial(): void {
    if (!this.#closed) this.#parts.tryIn(this.#skip.waitMs(Date.now()));
  }

  payDebts(onTold: () => void = () => {}): void {
    const { debts } = this.#fallback;
    if (debts === undefined || debts.empty) onTold();
    else this.watch(debts.payAll(this.#charge).then(onTold));
  }

  /** The store cannot be asked: the fallback decides, whatever the store breaker says. */
  lost(error: Error | undefined): void {
    this.#become(this.#fallback.mode, error);
  }

  /** It can be asked again. */
  found(): void {
    this.#skip.end();
  }

  #decide(claim: Claim): Decision {
    return this.#fallback.take(claim, this.#skip.waitMs(Date.now()));
  }

  /** What this client got while the store was away counts first; both within one deadline. */
  #payAndTake(claim: Claim, wait: Wait): Promise<Decision> {
    const { shared } = this.#parts;
    const { debts } = this.#fallback;
    const paying = debts?.empty === false ? debts.pay(claim.key, this.#charge) : undefined;
    return paying === undefined ? shared().take(claim, wait) : paying.then(() => shared().take(claim, wait));
  }

  /** The store counts what it was asked, however late; where it never does, it has to be told. */
  #awaitLate(claim: Claim, stood: Decision, asked: Promise<Decision>): void {
    asked.then(
      (decision) => {
        this.#compare(claim, stood, decision);
        // The store does not know of what is owed to it.
        if (this.#fallback.debts?.has(claim.key) !== true) this.#fallback.learn(claim, decision);
      },
      () => this.#fallback.owe(claim, stood.allowed),
    );
  }

  /** What passed here although the store refused it is charged, at the end of a turn of the event loop: late replies come together. */
  #compare(claim: Claim, stood: Decision, { allowed }: Decision): void {
    const { overspending } = this.#fallback;
    if (overspending === undefined || stood.allowed === allowed) return;
    if (!overspending.add(claim, stood.allowed)) return;
    setImmediate(() => {
      // Only once: by the time that the store can be told again, it would matter less.
      for (const debt of overspending.take()) this.#charge(debt).catch(() => {});
    });
  }

  readonly #charge = (debt: Debt): Promise<void> => this.patiently(this.#parts.shared().charge(debt));

  readonly #onLate = (): void => {
    if (!this.#skip.skipping) return;
    this.#skip.repliedLate();
    this.awaitTrial();
  };

  #failed(era: number, error: Error, otherwise: StoreFailure): void {
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
