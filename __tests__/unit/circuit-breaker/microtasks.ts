/** Runs what is due without time passing: cockatiel changes state within a few microtasks, pinned by its contract test. */
export async function microtasks(): Promise<void> {
  for (let turn = 0; turn < 10; turn += 1) await null;
}
