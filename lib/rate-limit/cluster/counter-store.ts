import type { RoundTrip, RoundTripStore } from '../leases/grant.ts';
import type { Claim, Debt, Decision, SharedMeter } from '../meter.ts';
import type { CountedLimiter, CounterAnswer, CounterLink, OneQuestion } from './counter-question.ts';

interface Asked {
  readonly question: OneQuestion;
  readonly resolve: (answer: RoundTrip | null) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Counts in another process of this machine. All questions of one turn of the event loop travel in one message, because a message costs
 * more than its content.
 */
export class CounterStore implements RoundTripStore {
  readonly loaded = Promise.resolve();
  readonly #link: CounterLink;
  readonly #limiter: CountedLimiter;
  #asked: Asked[] = [];

  constructor(link: CounterLink, limiter: CountedLimiter) {
    this.#link = link;
    this.#limiter = limiter;
  }

  async take({ key, cost, limit }: Claim, waiting: number, wish: number): Promise<RoundTrip> {
    const trip = await this.#ask(['take', key, cost, limit ?? null, { waiting, wish }]);
    if (trip === null) throw new TypeError('The counter returned no count');
    return trip;
  }

  async charge({ key, limit, owed }: Debt): Promise<void> {
    const units = owed.map((one) => one.units);
    const over = owed.map((one) => one.over ?? 0);
    const isOver = over.some((one) => one > 0);
    await this.#ask(isOver ? ['charge', key, limit ?? null, units, over] : ['charge', key, limit ?? null, units]);
  }

  async reset(key: string): Promise<void> {
    await this.#ask(['reset', key]);
  }

  /** Resolves if the other process replies. Has no deadline. */
  async probe(): Promise<void> {
    await this.#link.ask({ limiter: this.#limiter, all: [] });
  }

  #ask(question: OneQuestion): Promise<RoundTrip | null> {
    return new Promise((resolve, reject) => {
      if (this.#asked.length === 0) setImmediate(() => void this.#send());
      this.#asked.push({ question, resolve, reject });
    });
  }

  async #send(): Promise<void> {
    const asked = this.#asked;
    this.#asked = [];
    let answers: CounterAnswer;
    try {
      answers = await this.#link.ask({ limiter: this.#limiter, all: asked.map(({ question }) => question) });
      if (!Array.isArray(answers) || answers.length !== asked.length) {
        throw new TypeError('The counter did not reply to all requests');
      }
    } catch (error) {
      for (const { reject } of asked) reject(error);
      return;
    }
    for (const [index, { resolve }] of asked.entries()) resolve(answers[index] as RoundTrip | null);
  }
}

/** Asks for each claim by itself, and charges nothing in advance. */
export class CounterMeter implements Pick<SharedMeter, 'take' | 'loaded'> {
  readonly loaded: Promise<void>;
  readonly #store: RoundTripStore;

  constructor(store: RoundTripStore) {
    this.#store = store;
    this.loaded = store.loaded;
  }

  async take(claim: Claim): Promise<Decision> {
    return (await this.#store.take(claim, 0, 0)).decision;
  }
}
