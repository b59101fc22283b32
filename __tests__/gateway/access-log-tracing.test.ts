import { afterEach, expect, test } from '@jest/globals';
import * as api from '@opentelemetry/api';
import {
  BasicTracerProvider,
  BatchSpanProcessor,
  InMemorySpanExporter,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-base';
import { ask } from '../support/ask.ts';
import { closeAll, openBackend, openGateway } from './gateways.ts';
import { until } from './until.ts';

afterEach(async () => {
  await closeAll();
  api.trace.disable();
});

test('TRACING=on sends spans to the registered SDK, and the trace id to the backend and the access log', async () => {
  const exporter = new InMemorySpanExporter();
  api.trace.setGlobalTracerProvider(new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }));
  const one = await openBackend('one');
  const { url, logged } = await openGateway([one.url], { TRACING: 'on', ACCESS_LOG: 'json' });
  const { json } = await ask(url);
  await until(() => exporter.getFinishedSpans().length === 2);
  const [client, server] = exporter.getFinishedSpans();
  const traceId = server?.spanContext().traceId;
  expect(json.headers.traceparent).toBe(`00-${traceId}-${client?.spanContext().spanId}-01`);
  expect(logged.find(({ msg }) => msg === 'request')).toMatchObject({ traceId, status: 200 });
  expect(logged.filter(({ level }) => level === 'warn')).toEqual([]);
});

test('close() flushes the spans of the SDK, and waits for at most a second', async () => {
  const exporter = new InMemorySpanExporter();
  const batches = new BatchSpanProcessor(exporter, { scheduledDelayMillis: 60_000 });
  const provider = new BasicTracerProvider({ spanProcessors: [batches] });
  api.trace.setGlobalTracerProvider(provider);
  const one = await openBackend('one');
  const first = await openGateway([one.url], { TRACING: 'on' });
  await ask(first.url);
  expect(exporter.getFinishedSpans()).toEqual([]);
  await first.gateway.close();
  expect(exporter.getFinishedSpans()).toHaveLength(2);

  provider.forceFlush = () => new Promise(() => {});
  const second = await openGateway([one.url], { TRACING: 'on' });
  await second.gateway.close();
  expect(second.logged.map(({ msg }) => msg)).toContain('the last spans were not sent in time');
  await provider.shutdown();
});

test('TRACING=on without an SDK logs a warning, and requests are served', async () => {
  const one = await openBackend('one');
  const { url, logged } = await openGateway([one.url], { TRACING: 'on' });
  const { status, json } = await ask(url, { headers: { traceparent: 'as it came' } });
  expect([status, json.headers.traceparent]).toEqual([200, 'as it came']);
  expect(logged.filter(({ level }) => level === 'warn').map(({ msg }) => msg)).toEqual([
    'TRACING is on, and no OpenTelemetry SDK is registered: start with node --import (docs/tracing.md)',
  ]);
});
