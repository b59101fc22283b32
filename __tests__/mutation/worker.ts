/**
 * Runs tests of one suite under jest-circus, without Jest. `tester.ts` forks it in its copy of the repository; there, a suite that imports
 * `@jest/globals` gets this very module.
 */

import { registerHooks } from 'node:module';
import { pathToFileURL } from 'node:url';
import { jestExpect } from '@jest/expect';
import { ModernFakeTimers } from '@jest/fake-timers';
import type { Circus, Config } from '@jest/types';
import { addEventHandler, getState, run, setState } from 'jest-circus';
import { ModuleMocker } from 'jest-mock';

export { afterAll, afterEach, beforeAll, beforeEach, describe, it, test } from 'jest-circus';
export { jestExpect as expect };

/** What to run: these tests, by their numbers, with this mutant; or all of them, without a mutant, to record what they reach. */
export interface Order {
  readonly mutant: string;
  readonly tests?: readonly { readonly number: number; readonly limitMs: number }[];
}

export interface Recorded {
  readonly passed: boolean;
  /** Milliseconds that it takes on an idle machine: CPU time, and the time that it waits. */
  readonly ms: number;
  /** Mutants, by their ids. */
  readonly reached: readonly string[];
}

/** Comes after each order; `alive` comes at the start of each test. */
export interface Report {
  readonly failed: number | undefined;
  readonly isHung: boolean;
  readonly recorded: readonly Recorded[];
  /** Mutants that are reached while the suite and the code are loaded. */
  readonly atLoad: readonly string[];
}

const fakeTimers = new ModernFakeTimers({ config: { fakeTimers: {} } as Config.ProjectConfig, global: globalThis });
const mocker = new ModuleMocker(globalThis);

const member = (owner: object, name: string | symbol): unknown => {
  const value: unknown = Reflect.get(owner, name);
  return typeof value === 'function' ? value.bind(owner) : undefined;
};

/** Jest fakes `process.nextTick()` in a copy of `process`. Here Node's own streams would get the fake. */
const useFakeTimers = (config: { readonly doNotFake?: readonly string[] } = {}) =>
  fakeTimers.useFakeTimers({
    ...config,
    doNotFake: ['nextTick', 'queueMicrotask', ...(config.doNotFake ?? [])],
  } as never);

export const jest: object = new Proxy(
  { useFakeTimers, mocked: (mock: unknown) => mock, setTimeout() {} },
  { get: (own, name) => Reflect.get(own, name) ?? member(fakeTimers, name) ?? member(mocker, name) },
);

/** The code with the mutants reads it, and writes which of them it reached. */
const namespace = {
  activeMutant: process.env.__STRYKER_ACTIVE_MUTANT__ ?? '',
  currentTestId: 'load',
  hitCount: 0,
  // Ends endless loops that reach the active mutant.
  hitLimit: 1_000_000,
  mutantCoverage: { static: {}, perTest: {} as Record<string, object> },
};
Object.assign(globalThis, { __stryker__: namespace });
const reached = (where: string) => Object.keys(namespace.mutantCoverage.perTest[where] ?? {});

const tests: Circus.TestEntry[] = [];
const children = new Map<Circus.DescribeBlock, Circus.DescribeBlock['children']>();
let failed: number | undefined;
let stopsAtFailure = false;
let limits = new Map<number, number>();
let leftMs = Number.POSITIVE_INFINITY;
let cpuBefore = process.cpuUsage();
let waitedMs = 0;
const costs: number[] = [];

const report = (facts: Partial<Report>) =>
  process.send?.({ failed, isHung: false, recorded: [], atLoad: [], ...facts } satisfies Report);

addEventHandler((event) => {
  if (event.name === 'test_start') {
    const number = tests.indexOf(event.test);
    if (failed !== undefined && stopsAtFailure) event.test.mode = 'skip';
    namespace.currentTestId = String(number);
    leftMs = limits.get(number) ?? Number.POSITIVE_INFINITY;
    cpuBefore = process.cpuUsage();
    waitedMs = 0;
    process.send?.('alive');
  } else if (event.name === 'test_done') {
    namespace.currentTestId = 'hooks';
    leftMs = Number.POSITIVE_INFINITY;
    const { user, system } = process.cpuUsage(cpuBefore);
    costs[tests.indexOf(event.test)] = Math.min(event.test.duration ?? 0, (user + system) / 1000 + waitedMs);
    if (event.test.errors.length > 0) failed ??= tests.indexOf(event.test);
  }
});

// A test that hangs is found by ticks, which a busy machine slows down as well, and not by the clock.
const TICK_MS = 50;
setInterval(() => {
  leftMs -= TICK_MS;
  waitedMs += TICK_MS;
  if (leftMs < 0) report({ failed: Number(namespace.currentTestId), isHung: true });
}, TICK_MS);

function collect(block: Circus.DescribeBlock): void {
  children.set(block, block.children);
  for (const child of block.children) child.type === 'test' ? tests.push(child) : collect(child);
}

/** Only wanted tests stay in the tree, as circus calls the hooks of each block that is there. */
function prune(block: Circus.DescribeBlock, isWanted: (test: Circus.TestEntry) => boolean): boolean {
  block.children = (children.get(block) ?? []).filter((child) =>
    child.type === 'test' ? isWanted(child) : prune(child, isWanted),
  );
  return block.children.length > 0;
}

async function obey(order: Order): Promise<void> {
  const modes = tests.map(({ mode }) => mode);
  for (const test of tests) Object.assign(test, { errors: [], status: null });
  failed = undefined;
  stopsAtFailure = order.tests !== undefined;
  limits = new Map(order.tests?.map(({ number, limitMs }) => [number, limitMs]));
  namespace.activeMutant = order.mutant;
  namespace.hitCount = 0;
  // Processes that a test starts have the mutant, too.
  process.env.__STRYKER_ACTIVE_MUTANT__ = order.mutant;
  const { rootDescribeBlock } = setState({ ...getState(), testTimeout: 3_600_000 });
  prune(rootDescribeBlock, (test) => order.tests === undefined || limits.has(tests.indexOf(test)));
  await run();
  for (const [i, mode] of modes.entries()) tests[i]!.mode = mode;
  if (order.tests !== undefined) return void report({});
  const recorded = tests.map(({ errors, status }, number) => ({
    passed: errors.length === 0 && status === 'done',
    ms: costs[number] ?? 0,
    reached: [...reached(String(number)), ...reached('hooks')],
  }));
  report({ recorded, atLoad: reached('load') });
}

async function main(suite: string): Promise<void> {
  registerHooks({
    resolve: (specifier, context, next) =>
      specifier === '@jest/globals' ? { url: import.meta.url, shortCircuit: true } : next(specifier, context),
  });
  // As in Jest, an error that no test catches fails the test that runs.
  const fail = (error: unknown) => void getState().currentlyRunningTest?.errors.push(error as Circus.TestError);
  process.on('uncaughtException', fail).on('unhandledRejection', fail);
  await import(pathToFileURL(suite).href);
  namespace.currentTestId = 'hooks';
  collect(getState().rootDescribeBlock);
  process.on('message', (order: Order) => void obey(order)).on('disconnect', () => process.exit());
}

main(process.argv[2]!).catch(() => process.exit(1));
