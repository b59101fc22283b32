import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';
import { AcmeCertificates } from '../../lib/gateway/acme/acme-certificates.ts';
import type { AcmeConfig } from '../../lib/gateway/acme/acme-variables.ts';
import type { Logger } from '../../lib/gateway/logging/logger.ts';
import { GatewayState } from '../../lib/gateway/observing/gateway-state.ts';
import type { TrafficTotals } from '../../lib/observability/metrics/traffic-totals.ts';
import { LiveRates } from '../../lib/observability/status/live-rates.ts';
import { closeAll, openGateway } from './gateways.ts';

const START = Date.parse('2030-01-01');
const YEAR_MS = 365 * 86_400_000;
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'expressway-clock-'));
  jest.useFakeTimers({
    now: START,
    doNotFake: ['nextTick', 'queueMicrotask', 'setImmediate', 'clearImmediate', 'performance', 'hrtime'],
  });
});

afterEach(async () => {
  jest.useRealTimers();
  await closeAll();
  rmSync(folder, { recursive: true });
});

test('a certificate that was not issued is ordered again at once, not when the clock has caught up', async () => {
  // A file in the place of the folder: each look fails.
  const path = join(folder, 'file');
  writeFileSync(path, '');
  const config = { domains: ['a.test'], folder: path, isShared: false } as unknown as AcmeConfig;
  let failures = 0;
  const log = { error: () => failures++ } as unknown as Logger;
  const parts = { config: () => config, redisUrl: undefined, log, state: new GatewayState() };
  const certificates = new AcmeCertificates(config, parts);
  const looked = async () => {
    while (jest.getTimerCount() === 0) await new Promise((resolve) => setImmediate(resolve));
    return failures;
  };
  certificates.open();
  expect(await looked()).toBe(1);
  jest.advanceTimersByTime(10_000);
  expect(await looked()).toBe(1);
  jest.setSystemTime(START - YEAR_MS);
  jest.advanceTimersByTime(10_000);
  expect(await looked()).toBe(2);
  jest.advanceTimersByTime(10_000);
  expect(await looked()).toBe(2);
  certificates.close();
});

test('rates are not those of the time before, as if it had been half a second', () => {
  const totals = (requests: number) =>
    ({
      backends: new Map([['["a","b"]', { requests }]]),
      routes: new Map([['/', { requests }]]),
    }) as unknown as TrafficTotals;
  const rates = new LiveRates();
  const fallback = { totals: totals(0), at: START };
  jest.setSystemTime(START + 10_000);
  expect(rates.read(totals(100), fallback).ofRoute('/')).toBe(10);
  jest.setSystemTime(START - YEAR_MS);
  expect(rates.read(totals(110), fallback).ofRoute('/')).toBe(0);
  jest.setSystemTime(START - YEAR_MS + 1_000);
  expect(rates.read(totals(120), fallback).ofRoute('/')).toBe(10);
});

test('the time since the start is never negative', async () => {
  jest.useRealTimers();
  const { gateway } = await openGateway(['http://127.0.0.1:9']);
  jest.spyOn(Date, 'now').mockReturnValue(START - 50 * YEAR_MS);
  const { uptimeMs } = gateway.status() as { uptimeMs: number };
  jest.restoreAllMocks();
  expect(uptimeMs).toBeGreaterThanOrEqual(0);
  expect(uptimeMs).toBeLessThan(600_000);
});
