import type { ProblemSeverity } from '../../core/events.ts';

/** One problem that a detector has found. */
export interface Finding {
  /** What it concerns; empty for the process itself. Kind and subject identify a problem. */
  readonly subject: string;
  /** In a few words, for a headline. */
  readonly title: string;
  /** What happened, to what, and why. */
  readonly text: string;
  /** Only if it differs from the next step of the kind. */
  readonly nextStep?: string | undefined;
  /** Only if it differs from the severity of the kind. */
  readonly severity?: ProblemSeverity | undefined;
}

/** Looks for one kind of problem, every two seconds. */
export interface Detector {
  /** All present problems of the kind. */
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
  /** Whether it depends on states alone. Then a change of state triggers a look at once. Default false. */
  readonly isState?: boolean;
  /** Creates the detector. */
  detector(sources: Sources): Detector;
}

/** A kind with its detector. */
export interface WatchedKind {
  readonly kind: Pick<ProblemKind<never>, 'problem' | 'severity' | 'nextStep' | 'isState'>;
  readonly detector: Detector;
}

/** Creates the detectors of some kinds. */
export const watchKinds = <Sources>(kinds: readonly ProblemKind<Sources>[], sources: Sources): WatchedKind[] =>
  kinds.map((kind) => ({ kind, detector: kind.detector(sources) }));
