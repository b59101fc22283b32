import { type Ending, MIX_UP } from './client.ts';

/** When the backend failed and came back, and which one it was. */
export interface Moments {
  readonly failedAt: number;
  readonly returnedAt: number;
  readonly backend: string;
}

/** All errors of one kind. */
export interface Errors {
  readonly count: number;
  /** Milliseconds from the fault to the first and to the last of them; below 0 when it was before. */
  readonly firstMs: number;
  readonly lastMs: number;
}

/** What the clients of one target saw in one scenario. */
export interface Observation {
  readonly requests: number;
  /** By kind: the status, `cut` for an answer without its end, or the error code of the connection. */
  readonly errors: Readonly<Record<string, Errors>>;
  readonly mixUps: number;
  /** Milliseconds from the fault to the last error; nothing without one. */
  readonly lastErrorMs: number | undefined;
  /** Milliseconds from the backend's return to its first good answer at a client; nothing when there was none. */
  readonly firstGoodMs: number | undefined;
  /** Of the requests that were under way at some moment of the fault, errors included. */
  readonly p99Ms: number | undefined;
  readonly slowestMs: number | undefined;
  /** Good answers of each backend. */
  readonly good: Readonly<Record<string, number>>;
}

export function observe(endings: readonly Ending[], { failedAt, returnedAt, backend }: Moments): Observation {
  const errors: Record<string, Errors> = {};
  const good: Record<string, number> = {};
  const during: number[] = [];
  let lastErrorMs: number | undefined;
  let firstGoodMs: number | undefined;
  for (const ending of endings) {
    const { startedAt, endedAt, tookMs, error } = ending;
    if (startedAt <= returnedAt && endedAt >= failedAt) during.push(tookMs);
    if (error !== undefined) {
      const ms = endedAt - failedAt;
      errors[error] = withOneMore(errors[error], ms);
      lastErrorMs = Math.max(ms, lastErrorMs ?? ms);
      continue;
    }
    const name = ending.backend ?? 'unknown';
    good[name] = (good[name] ?? 0) + 1;
    if (name === backend && endedAt >= returnedAt) {
      const ms = endedAt - returnedAt;
      firstGoodMs = Math.min(ms, firstGoodMs ?? ms);
    }
  }
  during.sort((a, b) => a - b);
  return {
    requests: endings.length,
    errors,
    mixUps: errors[MIX_UP]?.count ?? 0,
    lastErrorMs,
    firstGoodMs,
    p99Ms: during[Math.ceil(during.length * 0.99) - 1],
    slowestMs: during.at(-1),
    good,
  };
}

function withOneMore(known: Errors | undefined, ms: number): Errors {
  if (known === undefined) return { count: 1, firstMs: ms, lastMs: ms };
  return { count: known.count + 1, firstMs: Math.min(known.firstMs, ms), lastMs: Math.max(known.lastMs, ms) };
}
