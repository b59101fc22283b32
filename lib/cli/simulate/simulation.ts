import type { Algorithm } from '../../rate-limit/algorithm.ts';
import { boundedKey, ownKey } from '../../rate-limit/claimant.ts';
import { addressKey } from '../../rate-limit/client-key.ts';
import { fixedWindow } from '../../rate-limit/fixed-window.ts';
import { MemoryMeter } from '../../rate-limit/memory-meter.ts';
import type { AlgorithmName } from '../../rate-limit/open-limiter-meter.ts';
import type { Quota } from '../../rate-limit/quota.ts';
import { slidingWindow } from '../../rate-limit/sliding-window.ts';
import { tokenBucket } from '../../rate-limit/token-bucket.ts';
import { ClientTallies } from './client-tallies.ts';
import { TimeHistogram, WaitHistogram } from './histograms.ts';
import type { LogLine, ReadLine } from './log-line.ts';

const ALGORITHMS: Readonly<Record<AlgorithmName, Algorithm>> = Object.freeze({
  'sliding-window': slidingWindow,
  'fixed-window': fixedWindow,
  'token-bucket': tokenBucket,
});
const SHOWN_LINES = 3;
const SHOWN_CHARACTERS = 120;

export interface SimulationParts {
  readonly algorithm: AlgorithmName;
  readonly quotas: readonly Quota[];
  readonly readLine: ReadLine;
  readonly ipv6Subnet: number;
  /** The most clients that are told apart. */
  readonly maxKeys: number;
}

export interface UnreadableLine {
  /** From 1. */
  readonly number: number;
  readonly text: string;
}

/** The requests of a log, judged by the limiter's own arithmetic at the times that the log says. */
export class Simulation {
  readonly #parts: SimulationParts;
  readonly #meter: MemoryMeter;
  readonly clients: ClientTallies;
  readonly times = new TimeHistogram();
  readonly waits = new WaitHistogram();
  readonly unreadable: UnreadableLine[] = [];
  unreadableCount = 0;
  lines = 0;
  requests = 0;
  limited = 0;
  /** Epoch milliseconds. */
  firstAt = 0;
  lastAt = 0;
  firstLimitedAt = 0;
  firstLimitedClient = '';
  /** Lines with an earlier time than one before them. They are judged at that one's, as the limiter's clock runs on. */
  outOfOrder = 0;
  /** Milliseconds by which the worst of them is late. */
  latestMs = 0;
  /** Whether the limiter had more clients than it may tell apart. */
  meterFull = false;

  constructor(parts: SimulationParts) {
    this.#parts = parts;
    const { algorithm, quotas, maxKeys } = parts;
    const onFull = (): void => {
      this.meterFull = true;
    };
    this.#meter = new MemoryMeter({ algorithm: ALGORITHMS[algorithm], quotas, maxKeys, onFull });
    this.clients = new ClientTallies(maxKeys);
  }

  /** @param text Nothing for a line that is too long. */
  add(text: string | undefined): void {
    this.lines++;
    if (text !== undefined && text.trim() === '') return;
    const line = text === undefined ? undefined : this.#parts.readLine(text);
    if (line !== undefined) {
      this.#judge(line);
      return;
    }
    this.unreadableCount++;
    if (this.unreadable.length >= SHOWN_LINES) return;
    this.unreadable.push({ number: this.lines, text: text?.slice(0, SHOWN_CHARACTERS) ?? '(too long)' });
  }

  #judge(line: LogLine): void {
    const now = this.#clock(line.time);
    const key = this.#keyOf(line);
    const { allowed, retryAfterMs } = this.#meter.take({ key, cost: 1, limit: undefined }, now);
    this.requests++;
    this.times.count(allowed, now);
    this.clients.count(key, allowed, now);
    if (allowed) return;
    this.waits.count(retryAfterMs);
    if (this.limited++ > 0) return;
    this.firstLimitedAt = now;
    this.firstLimitedClient = key;
  }

  #clock(time: number): number {
    if (this.requests === 0) this.firstAt = this.lastAt = time;
    if (time < this.lastAt) {
      this.outOfOrder++;
      this.latestMs = Math.max(this.latestMs, this.lastAt - time);
    } else {
      this.lastAt = time;
    }
    return this.lastAt;
  }

  /** As the limiter forms it; a host's name, which a log may have in place of its address, is one client. */
  #keyOf({ ip, field }: LogLine): string {
    if (field !== undefined && field !== '') return ownKey(field);
    return addressKey(ip, this.#parts.ipv6Subnet) ?? boundedKey(ip);
  }
}
