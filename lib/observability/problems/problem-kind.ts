import type { ProblemSeverity } from '../../core/events.ts';

/** What a detector has found at one look. */
export interface Finding {
  /** What it is about; empty for the process itself. A problem is known again by its kind and its subject. */
  readonly subject: string;
  /** In a few words, for a headline. */
  readonly title: string;
  /** What happened, to what, and why. */
  readonly text: string;
  /** Where it differs from that of the kind. */
  readonly nextStep?: string | undefined;
  /** Where it differs from that of the kind. */
  readonly severity?: ProblemSeverity | undefined;
}

/** Looks for one kind of problem, every two seconds. */
export interface Detector {
  /** All there are now. */
  look(): Iterable<Finding>;
  /** Stops listening. */
  close?(): void;
}

/**
 * One kind of problem, and all that belongs to it: name, severity, texts and how to find it. Headline, `/status`, metric, log and
 * `docs/problems.md` derive from this.
 */
export interface ProblemKind<Sources> {
  /** Name in JSON and log, label of the metric, and anchor in `docs/problems.md`. */
  readonly problem: string;
  readonly severity: ProblemSeverity;
  /** For `docs/problems.md`. */
  readonly meaning: string;
  readonly nextStep: string;
  /** Whether it is found in states alone: then it is looked for at once when a state changes. Default false. */
  readonly isState?: boolean;
  /** Starts to look. */
  detector(sources: Sources): Detector;
}

/** A kind that is looked for. */
export interface WatchedKind {
  readonly kind: Pick<ProblemKind<never>, 'problem' | 'severity' | 'nextStep' | 'isState'>;
  readonly detector: Detector;
}

/** Starts to look for problems of some kinds. */
export const watchKinds = <Sources>(kinds: readonly ProblemKind<Sources>[], sources: Sources): WatchedKind[] =>
  kinds.map((kind) => ({ kind, detector: kind.detector(sources) }));
