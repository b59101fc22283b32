import type { GatewayProblem, ProblemEvent, ProblemSeverity } from '../../core/events.ts';
import { thrown, warnOnceOf } from '../../core/warnings.ts';
import { printable } from '../access-log/redaction.ts';
import type { Finding, WatchedKind } from './problem-kind.ts';

/** Milliseconds between two looks for all problems. */
export const LOOK_EVERY_MS = 2_000;
/** Milliseconds from a change of state to the look at states, because changes often come together. */
const SOON_MS = 50;
/** Milliseconds without a finding after which a problem is over. */
const OVER_AFTER_MS = 3_000;
/** Milliseconds between two log lines about a problem that lasts. */
const REPEAT_MS = 60_000;
/** Most problems of one kind that are shown; of further ones, only the number is. */
const MOST_SUBJECTS = 20;
const MAX_TEXT = 600;

/** Texts with counts, which are those of one process. */
const IS_COUNTED = /in the last \d/;

const SEVERITIES: readonly ProblemSeverity[] = ['critical', 'warning', 'notice'];

interface Entry {
  readonly problem: GatewayProblem;
  readonly seenAt: number;
  readonly reportedAt: number;
}

/** The state of the gateway in one line. */
export interface Headline {
  readonly level: 'ok' | 'warn' | 'bad';
  readonly title: string;
}

/** Functions that a monitor calls. */
interface LookSteps {
  /** Before each look, including looks at states alone. */
  begins?(): void;
  /** After each look for all problems. */
  ended?(): void;
}

/** Keeps the list of present problems, and reports when one begins and ends. Detectors find them. */
export class ProblemMonitor {
  readonly #watched: readonly WatchedKind[];
  readonly #report: (event: ProblemEvent) => void;
  readonly #steps: LookSteps;
  readonly #entries = new Map<string, Entry>();
  readonly #timer: NodeJS.Timeout;
  #soon: NodeJS.Timeout | undefined;

  constructor(watched: readonly WatchedKind[], report: (event: ProblemEvent) => void, steps: LookSteps = {}) {
    this.#watched = watched;
    this.#report = report;
    this.#steps = steps;
    this.#timer = setInterval(() => this.look(), LOOK_EVERY_MS).unref();
  }

  /** Names of all kinds with a detector. */
  get kinds(): readonly string[] {
    return this.#watched.map(({ kind }) => kind.problem);
  }

  /** Sorted by severity, then in the order of the registry. */
  get problems(): readonly GatewayProblem[] {
    return sortedProblems(
      [...this.#entries.values()].map(({ problem }) => problem),
      this.kinds,
    );
  }

  look(): void {
    this.#lookForAll(this.#watched);
    this.#steps.ended?.();
  }

  /** Call it when a state has changed: detectors that depend on states alone then look at once. */
  soon(): void {
    this.#soon ??= setTimeout(() => {
      this.#soon = undefined;
      this.#lookForAll(this.#watched.filter(({ kind }) => kind.isState === true));
    }, SOON_MS).unref();
  }

  #lookForAll(all: readonly WatchedKind[]): void {
    this.#steps.begins?.();
    for (const watched of all) {
      try {
        this.#lookFor(watched);
      } catch (error) {
        warnOnceOf(
          watched,
          'WARN_EXPRESSWAY_LISTENER',
          `The detector of ${watched.kind.problem} threw: ${thrown(error)}`,
        );
      }
    }
    const now = Date.now();
    for (const [key, { problem, seenAt }] of this.#entries) {
      if (Math.abs(now - seenAt) < OVER_AFTER_MS) continue;
      this.#entries.delete(key);
      this.#report({ state: 'over', problem });
    }
  }

  close(): void {
    clearInterval(this.#timer);
    clearTimeout(this.#soon);
    for (const { detector } of this.#watched) detector.close?.();
  }

  #lookFor({ kind, detector }: WatchedKind): void {
    const findings = [...detector.look()];
    const shown = findings.slice(0, MOST_SUBJECTS);
    const [more] = findings.slice(MOST_SUBJECTS);
    if (more !== undefined) shown.push(summary(more, findings.length - MOST_SUBJECTS));
    for (const finding of shown) this.#found(kind, finding);
  }

  #found(kind: WatchedKind['kind'], finding: Finding): void {
    const now = Date.now();
    const key = `${kind.problem}\n${finding.subject}`;
    const known = this.#entries.get(key);
    const problem: GatewayProblem = {
      problem: kind.problem,
      severity: finding.severity ?? kind.severity,
      subject: printable(finding.subject, MAX_TEXT),
      title: printable(finding.title, MAX_TEXT),
      text: printable(finding.text, MAX_TEXT),
      // Backticks belong to the documentation only.
      nextStep: printable((finding.nextStep ?? kind.nextStep).replaceAll('`', ''), MAX_TEXT),
      since: known?.problem.since ?? now,
    };
    const isDue = known === undefined || Math.abs(now - known.reportedAt) >= REPEAT_MS;
    this.#entries.set(key, { problem, seenAt: now, reportedAt: isDue ? now : known.reportedAt });
    if (isDue) this.#report({ state: known === undefined ? 'began' : 'lasts', problem });
  }
}

const summary = (one: Finding, count: number): Finding => ({
  ...one,
  subject: 'others',
  title: `${count} more like this`,
  text: `${one.title}, and ${count} more like this.`,
});

/** @param kinds In the order of their weight. */
export function sortedProblems(problems: readonly GatewayProblem[], kinds: readonly string[]): GatewayProblem[] {
  const weight = ({ severity, problem }: GatewayProblem): number =>
    SEVERITIES.indexOf(severity) * (kinds.length + 1) + kinds.indexOf(problem);
  // Problems of the same weight keep the order in which they were found.
  return [...problems].sort((a, b) => weight(a) - weight(b));
}

/**
 * Merges the problems of several processes, one list for each. A problem that several processes have is listed once, with its earliest
 * time. A problem that is critical in only some of them becomes a warning.
 */
export function mergeProblems(lists: readonly (readonly GatewayProblem[])[]): GatewayProblem[] {
  const same = Map.groupBy(lists.flat(), ({ problem, subject }) => `${problem}\n${subject}`);
  const merged = [...same.values()].map((all): GatewayProblem => {
    const [worst] = sortedProblems(all, []) as [GatewayProblem];
    const since = Math.min(...all.map((one) => one.since));
    const ofOne = all.length > 1 && IS_COUNTED.test(worst.text) ? '; the numbers are those of one' : '';
    if (all.length === lists.length) {
      const text = ofOne === '' ? worst.text : `${worst.text} (In all ${all.length} processes${ofOne}.)`;
      return { ...worst, since, text };
    }
    const severity = worst.severity === 'critical' ? 'warning' : worst.severity;
    return {
      ...worst,
      since,
      severity,
      text: `${worst.text} (In ${all.length} of ${lists.length} processes${ofOne}.)`,
    };
  });
  return sortedProblems(merged, []);
}

const withoutScheme = (origin = 'a backend'): string => origin.replace(/^https?:\/\//, '');

/**
 * The headline: whether the gateway is up.
 *
 * @param phase `starting`, `running` or `stopping`.
 * @param problems The worst first, as in the monitor.
 * @param backends Are counted in the headline when there is no problem.
 */
export function headlineOf(
  phase: string,
  problems: readonly GatewayProblem[],
  backends: readonly {
    readonly backend?: string;
    readonly circuit?: string;
    readonly unavailableIn: number;
    readonly processes: number;
  }[] = [],
): Headline {
  const [worst] = problems;
  const others = problems.filter((one) => one !== worst && one.severity !== 'notice').length;
  const more = others === 0 ? '' : ` (and ${others} more problem${others === 1 ? '' : 's'})`;
  if (phase === 'stopping') return { level: 'warn', title: 'Stopping' };
  if (worst?.severity === 'critical') return { level: 'bad', title: `Down: ${worst.title}${more}` };
  if (phase !== 'running') return { level: 'warn', title: 'Starting' };
  if (worst?.severity === 'warning') return { level: 'warn', title: `Up, but ${worst.title}${more}` };
  const [trial, ...trials] = backends.filter(({ circuit }) => circuit === 'half-open');
  if (trial !== undefined) {
    const name = trials.length > 0 ? `${trials.length + 1} backends are` : `${withoutScheme(trial.backend)} is`;
    return { level: 'warn', title: `Up, but ${name} on trial (circuit half-open)` };
  }
  const taking = backends.filter(({ unavailableIn, processes }) => unavailableIn < processes).length;
  const takers =
    taking === backends.length
      ? taking === 1
        ? 'the backend takes'
        : `all ${taking} backends take`
      : `${taking} of ${backends.length} backends take`;
  return { level: 'ok', title: backends.length === 0 ? 'Up' : `Up: ${takers} requests` };
}
