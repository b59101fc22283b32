import { setTimeout as delay } from 'node:timers/promises';

/** Waits for a condition; generous, since the machine may be busy. */
export async function until(condition: () => boolean | Promise<boolean>, timeoutMs = 30_000): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`not true within ${timeoutMs} ms: ${condition}`);
    await delay(20);
  }
}
