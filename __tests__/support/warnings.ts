import { afterAll, beforeAll } from '@jest/globals';

type Emit = typeof process.emitWarning;

/** For a suite that provokes warnings of these codes on purpose: it does not print them. It prints any other. */
export function expectWarnings(...codes: readonly string[]): void {
  let emit: Emit;
  beforeAll(() => {
    emit = process.emitWarning;
    process.emitWarning = ((...args: Parameters<Emit>) => {
      const [, options] = args as [unknown, { code?: string } | undefined];
      if (!codes.includes(options?.code ?? '')) emit.apply(process, args);
    }) as Emit;
  });
  afterAll(() => {
    process.emitWarning = emit;
  });
}
