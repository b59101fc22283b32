import type { RoundTrip } from '../leases/grant.ts';
import { leastAhead } from '../leases/leasing-store.ts';
import type { MemoryMeter } from '../memory/memory-meter.ts';
import type { Claim } from '../meter.ts';
import { memoryMeter } from '../open-meter.ts';
import type {
  ChargeQuestion,
  CountedLimiter,
  CounterAnswer,
  CounterQuestion,
  TakeQuestion,
} from './counter-question.ts';

/** Counts for the limiters of other processes. */
export interface LimiterCounter {
  /** Answers a question that `counter.ask()` of a limiter was called with. */
  answer(question: CounterQuestion): CounterAnswer;
}

interface Counted {
  readonly meter: MemoryMeter;
  readonly leastLimit: number;
  askedAt: number;
}

/**
 * Counts for the limiters of several processes of one machine, as the primary of a cluster does for its workers. Their option `counter`
 * sends the questions here. The limits hold for all of them together.
 *
 * ```ts
 * // in the primary
 * const counter = limiterCounter();
 * cluster.on('message', (worker, { id, question }) => worker.send({ id, answer: counter.answer(question) }));
 * // in a worker
 * app.use(ipRateLimit({ counter: { processes: 4, ask } }));
 * ```
 *
 * After a change of limits, the old counts are kept until they have expired.
 */
export function limiterCounter(): LimiterCounter {
  const all = new Map<string, Counted>();

  function find(limiter: CountedLimiter): Counted {
    const id = JSON.stringify(limiter);
    const now = Date.now();
    let counted = all.get(id);
    if (counted === undefined) {
      for (const [old, { meter, askedAt }] of all) if (now - askedAt > meter.lifetimeMs) all.delete(old);
      counted = { meter: memoryMeter(limiter), leastLimit: leastLimit(limiter), askedAt: now };
      all.set(id, counted);
    }
    counted.askedAt = now;
    return counted;
  }

  return {
    answer({ limiter, all: questions }) {
      const counted = find(limiter);
      return questions.map((question) => {
        if (question[0] === 'take') return take(counted, limiter.share, question);
        if (question[0] === 'charge') charge(counted.meter, question);
        else counted.meter.reset(question[1]);
        return null;
      });
    },
  };
}

const leastLimit = ({ quotas }: CountedLimiter): number =>
  Math.min(...quotas.map(({ limit, burst }) => Math.min(limit, burst)));

/** Does what the lease script of an algorithm does in Redis, with the meter of this process. */
function take(
  { meter, leastLimit }: Counted,
  share: number,
  [, key, cost, own, { waiting, wish }]: TakeQuestion,
): RoundTrip {
  const now = Date.now();
  const claim: Claim = { key, cost, limit: own ?? undefined };
  const decision = meter.take(claim, now);
  const { quotaStates } = decision;
  if (!decision.allowed || cost === 0 || waiting + wish === 0) {
    return { decision, grant: { ahead: 0, leaseMs: 0, quotaStates, restsMs: quotaStates.map(() => 0) } };
  }
  const least = Math.max(waiting, leastAhead(own ?? leastLimit, share, wish));
  const aheads = quotaStates.map(({ remaining }) =>
    Math.max(Math.min(wish, Math.floor(remaining * share)), Math.min(least, remaining)),
  );
  const ahead = Math.min(...aheads);
  // Until the window ends, or the bucket would be full. One millisecond less, because `resetMs` is rounded up.
  const leaseMs = Math.max(0, Math.min(...quotaStates.map(({ resetMs }) => resetMs)) - 1);
  const after = meter.take({ key, cost: ahead, limit: claim.limit }, now);
  return {
    decision: { ...decision, quotaStates: after.quotaStates },
    grant: { ahead, leaseMs, quotaStates: after.quotaStates, restsMs: meter.restsOf(claim, now) },
  };
}

function charge(meter: MemoryMeter, [, key, limit, units, over]: ChargeQuestion): void {
  meter.charge({ key, cost: 0, limit: limit ?? undefined }, units, Date.now(), over);
}
