import { afterEach, expect, jest, test } from '@jest/globals';
import { Spans } from '../../../lib/observability/tracing/spans.ts';
import type { Context, Span, Tracer } from '../../../lib/observability/tracing/tracing-api.ts';

afterEach(() => {
  jest.restoreAllMocks();
});

test('an SDK that throws at each request causes one warning for the start of spans, and one for their end', () => {
  const warned = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
  const broken = (what: string) => () => {
    throw new Error(what);
  };
  const spans = new Spans({ startSpan: broken('a sampler that fails') } satisfies Tracer);
  const span = { end: broken('a processor that fails') } as unknown as Span;
  for (let i = 0; i < 50; i++) {
    expect(spans.start('GET', {}, {} as Context)).toBeUndefined();
    spans.end(span);
  }
  expect(warned.mock.calls.map(([message]) => message)).toEqual([
    expect.stringContaining('a sampler that fails'),
    expect.stringContaining('a processor that fails'),
  ]);
});
