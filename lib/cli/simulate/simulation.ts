import { addressKey, withoutPort } from '../../core/address-key.ts';
import { ALGORITHMS, type AlgorithmName } from '../../rate-limit/algorithms/registry.ts';
import { MemoryMeter } from '../../rate-limit/memory/memory-meter.ts';
import { boundedKey, ownKey } from '../../rate-limit/own-claims.ts';
import type { Quota } from '../../rate-limit/quota.ts';
import { ClientTallies } from './client-tallies.ts';
import { TimeHistogram, WaitHistogram } from './histograms.ts';
import type { LogLine, ReadLine } from './log-line.ts';
import { WindowCounts, type WindowSummary } from './window-counts.ts';

const SHOWN_LINES = 3;
const SHOWN_CHARACTERS = 120;
/** Milliseconds. A line whose time is further from those around it has a wrong time. */
const MOST_JUMP_MS = 3_600_000;
/** Window length when no limit is given. */
const USUAL_WINDOWS_MS = [1_000, 10_000, 60_000, 3_600_000];

export interface SimulationParts {
  readonly algorithm: AlgorithmName;
  /** Empty when no limit is given. */
  readonly quotas: readonly Quota[];
  readonly readLine: ReadLine;
  readonly ipv6Subnet: number;
  /** The most clients that are counted separately. */
  readonly maxKeys: number;
}

export interface BadLine {
  readonly log: string;
  /** Line number, from 1. */
  readonly number: number;
  /** The rest of a sentence that begins with the line. */
  readonly problem: string;
  readonly text: string;
}

/** The position of a line. */
interface Place {
  readonly log: string;
  readonly number: number;
  /** `undefined` for a line that is too long. */
  readonly text: string | undefined;
}

const ALLOWED = Object.freeze({ allowed: true, retryAfterMs: 0 });

/** Runs the limiter's own arithmetic over the requests of a log, at the times in the log. */
export class Simulation {
  readonly #parts: SimulationParts;
  readonly #meter: MemoryMeter | undefined;
  readonly #windows: readonly WindowCounts[];
  #log = '';
  #number = 0;
  /** A line whose time is far ahead of the one before. It waits for the next line, which may show that its time is wrong. */
  #ahead: { readonly line: LogLine; readonly place: Place } | undefined;
  readonly clients: ClientTallies;
  readonly times = new TimeHistogram();
  readonly waits = new WaitHistogram();
  /** The first lines that could not be used. */
  readonly bad: BadLine[] = [];
  /** Numbers of unusable lines, by what is wrong with them. */
  readonly badCounts = new Map<string, number>();
  badCount = 0;
  /** All lines, and empty lines. */
  lines = 0;
  blank = 0;
  requests = 0;
  limited = 0;
  /** Epoch milliseconds. */
  firstAt = 0;
  lastAt = 0;
  firstLimitedAt = 0;
  firstLimitedClient = '';
  /** Lines with an earlier time than a line before them. They are counted at that line's time, because the limiter's clock never goes back. */
  outOfOrder = 0;
  /** Largest difference of such a line, in milliseconds. */
  latestMs = 0;
  /** Whether the limiter had more clients than it may count separately. */
  meterFull = false;

  constructor(parts: SimulationParts) {
    this.#parts = parts;
    const { algorithm, quotas, maxKeys } = parts;
    const onFull = (): void => {
      this.meterFull = true;
    };
    const hasLimit = quotas.length > 0;
    this.#meter = hasLimit ? new MemoryMeter({ algorithm: ALGORITHMS[algorithm], quotas, maxKeys, onFull }) : undefined;
    const widthsMs = hasLimit ? [...new Set(quotas.map(({ windowMs }) => windowMs))] : USUAL_WINDOWS_MS;
    this.#windows = widthsMs.map((windowMs) => new WindowCounts(windowMs, maxKeys));
    this.clients = new ClientTallies(maxKeys);
  }

  /** The share of unusable lines, from 0 to 1. */
  get badShare(): number {
    return this.badCount === 0 ? 0 : this.badCount / (this.lines - this.blank);
  }

  startLog(name: string): void {
    this.#log = name;
    this.#number = 0;
  }

  /** @param text `undefined` for a line that is too long. */
  add(text: string | undefined): void {
    this.lines++;
    this.#number++;
    if (text !== undefined && text.trim() === '') {
      this.blank++;
      return;
    }
    const line = text === undefined ? 'is too long' : this.#parts.readLine(text);
    const place = { log: this.#log, number: this.#number, text };
    if (typeof line === 'string') this.#leaveOut(line, place);
    else this.#take(line, place);
  }

  /** Call it once, after the last line. */
  finish(): readonly WindowSummary[] {
    if (this.#ahead !== undefined) this.#judge(this.#ahead.line);
    this.#ahead = undefined;
    return this.#windows.map((window) => window.summary());
  }

  #leaveOut(problem: string, { log, number, text }: Place): void {
    this.badCount++;
    // The text after the colon belongs to this line only.
    const kind = problem.replace(/:.*/s, '');
    this.badCounts.set(kind, (this.badCounts.get(kind) ?? 0) + 1);
    if (this.bad.length >= SHOWN_LINES) return;
    this.bad.push({ log, number, problem, text: text?.slice(0, SHOWN_CHARACTERS) ?? '' });
  }

  /** Keeps a single wrong time far ahead from moving all later lines to that time. */
  #take(line: LogLine, place: Place): void {
    const ahead = this.#ahead;
    this.#ahead = undefined;
    if (ahead !== undefined && ahead.line.time - line.time > MOST_JUMP_MS) {
      this.#leaveOut('has a time more than an hour after that of the next line', ahead.place);
    } else if (ahead !== undefined) {
      this.#judge(ahead.line);
    }
    if (this.requests === 0 || line.time - this.lastAt > MOST_JUMP_MS) {
      this.#ahead = { line, place };
    } else if (this.lastAt - line.time > MOST_JUMP_MS) {
      this.#leaveOut('has a time more than an hour before that of a line before it', place);
    } else {
      this.#judge(line);
    }
  }

  #judge(line: LogLine): void {
    const now = this.#clock(line.time);
    const key = this.#keyOf(line);
    this.requests++;
    for (const window of this.#windows) window.count(key, now);
    const { allowed, retryAfterMs } = this.#meter?.take({ key, cost: 1, limit: undefined }, now) ?? ALLOWED;
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

  /** The key as the limiter forms it. A host name, which a log may have in place of an address, is one client. */
  #keyOf({ ip, field }: LogLine): string {
    if (field !== undefined && field !== '') return ownKey(field);
    return addressKey(ip, this.#parts.ipv6Subnet) ?? boundedKey(withoutPort(ip));
  }
}
