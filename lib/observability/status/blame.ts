import { CAUSES, type Cause } from '../../core/causes.ts';

/** Of the answers of 5xx that the gateway made, those that are not its own fault. */
export function notOurFault(causes: ReadonlyMap<string, number>): {
  readonly backend: number;
  readonly client: number;
} {
  let [backend, client] = [0, 0];
  for (const [cause, count] of causes) {
    const { status, blame } = CAUSES[cause as Cause] ?? OTHER;
    if (status < 500) continue;
    if (blame === 'backend') backend += count;
    else if (blame === 'client') client += count;
  }
  return { backend, client };
}

/** A cause of a foreign version, by the metrics of another process. */
const OTHER = { status: 0, blame: 'gateway' } as const;
