import type { LoadCount, LoadPlan } from './load-generator.ts';

/** For a tool that starts anew for each stretch, and knows no other right answer than a small 200. */
export async function separateRuns(
  plan: LoadPlan,
  run: (seconds: number) => Promise<LoadCount>,
  begin: () => Promise<void>,
  end: () => Promise<void>,
): Promise<LoadCount> {
  if (plan.refuses) throw new Error('cannot check a 429: use --load raw');
  if (plan.exchange !== undefined) throw new Error('cannot check large content: use --load raw');
  await run(plan.warmupSeconds);
  await begin();
  const count = await run(plan.seconds);
  await end();
  return count;
}
