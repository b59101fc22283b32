import { expect, test } from '@jest/globals';
import * as api from '@opentelemetry/api';
import { OptionsError, observability, tracing, tracingDefaults } from 'expressway';

test('refuses bad options, all at once', () => {
  const bad = { api: {}, trustIncoming: 'some', query: 1, redact: 'a', methods: [1], colour: true };
  expect(() => tracing(bad as never)).toThrow(OptionsError);
  try {
    tracing(bad as never);
  } catch (error) {
    expect((error as OptionsError).problems).toHaveLength(6);
  }
  expect(() => tracing(undefined as never)).toThrow(
    /api must be the whole module: import \* as api from '@opentelemetry\/api', got undefined/,
  );
  expect(() => observability({ tracing: {} as never })).toThrow(/tracing must be the result of tracing\(\)/);
});

test('takes the package as it is, and its defaults are frozen', () => {
  expect(observability({ tracing: tracing({ api }) })).toBeInstanceOf(Function);
  expect(Object.isFrozen(tracingDefaults) && Object.isFrozen(tracingDefaults.methods)).toBe(true);
});
