import { eventually } from '../support/servers.ts';

/** Waits for a condition, whose text is what its failure says. Generous, since it is in another process, and the machine may be busy. */
export function until(condition: () => boolean | Promise<boolean>, timeoutMs = 50_000): Promise<void> {
  return eventually(String(condition), condition, timeoutMs);
}
