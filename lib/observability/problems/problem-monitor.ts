import type { GatewayProblem, ProblemEvent, ProblemSeverity } from '../../core/events.ts';
import { thrown, warnOnceOf } from '../../core/warnings.ts';
import { printable } from '../access-log/redaction.ts';
import type { Finding, WatchedKind } from './problem-kind.ts';

/** Between two looks. */
export const LOOK_EVERY_MS = 2_000;
/** From a change of state to the look at states: many changes come together. */
const SOON_MS = 50;
/** A problem that is not found for so long is over. */
const OVER_AFTER_MS = 3_000;
/** Between two log lines about a problem that lasts. */
const REPEAT_MS = 60_000;
/** Subjects of one kind; of more, only the number is shown. */
const MOST_SUBJECTS = 20;
const MAX_TEXT = 600;

const SEVERITIES: readonly ProblemSeverity[] = ['critical', 'warning', 'notice'];

interface Entry {
  readonly problem: GatewayProblem;
  readonly seenAt: number;
  readonly reportedAt: number;
}

/** The state of a gateway in one line. */
export interface Headline {
  readonly level: 'ok' | 'warn' | 'bad';
  readonly title: string;
}

/** Called by a monitor. */
interface LookSteps {
  /** Before each look, also at states alone. */
  begins?(): void;
  /** After each look at everything. */
  ended?(): void;
}

/** Knows which problems there are now, and reports when one begins and ends. Detectors do the looking. */
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

  /** Names of all kinds that are looked for. */
  get kinds(): readonly string[] {
    return this.#watched.map(({ kind }) => kind.problem);
  }

  /** The worst first; of one severity, in the order of the registry. */
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

  /** A state has changed: problems that are found in states are looked for at once. */
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
      // The backticks are for the documentation.
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
  // The order in which they were found stands where the weight is the same.
  return [...problems].sort((a, b) => weight(a) - weight(b));
}

/**
 * Problems of several processes, those of each in a list: the same one once, since when the first process saw it. What is critical for
 * one of them only is a warning for all.
 */
export function mergeProblems(lists: readonly (readonly GatewayProblem[])[]): GatewayProblem[] {
  const same = Map.groupBy(lists.flat(), ({ problem, subject }) => `${problem}\n${subject}`);
  const merged = [...same.values()].map((all): GatewayProblem => {
    const [worst] = sortedProblems(all, []) as [GatewayProblem];
    const since = Math.min(...all.map((one) => one.since));
    if (all.length === lists.length) return { ...worst, since };
    const severity = worst.severity === 'critical' ? 'warning' : worst.severity;
    return { ...worst, since, severity, text: `${worst.text} (In ${all.length} of ${lists.length} processes.)` };
  });
  return sortedProblems(merged, []);
}

const withoutScheme = (origin = 'a backend'): string => origin.replace(/^https?:\/\//, '');

/**
 * The answer to "is it up?".
 *
 * @param phase `starting`, `running` or `stopping`.
 * @param problems The worst first, as the monitor has them.
 * @param backends Those that are taken to be shown as up, when there is no problem.
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
