import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';
import { GatewayEvents } from '../../../lib/core/gateway-events.ts';

let warn: jest.SpiedFunction<typeof process.emitWarning>;
beforeEach(() => {
  warn = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
});
afterEach(() => warn.mockRestore());

const change = (origin: string) => ({ service: 'p', added: [origin], removed: [] });
const messages = () => warn.mock.calls.map(([message]) => message);

test('a listener that throws causes a process warning, and later listeners are called', () => {
  const events = new GatewayEvents();
  const heard: string[][] = [];
  events.on('backendsChanged', ({ added }) => {
    throw new Error(`cannot take ${added}`);
  });
  events.on('backendsChanged', ({ added }) => void heard.push([...added]));
  expect(events.emit('backendsChanged', change('http://a'))).toBe(true);
  expect(heard).toEqual([['http://a']]);
  expect(warn).toHaveBeenCalledWith('A listener of "backendsChanged" threw: Error: cannot take http://a', {
    type: 'ExpresswayListenerWarning',
    code: 'WARN_EXPRESSWAY_LISTENER',
    detail: expect.stringContaining('events.test.ts'),
  });
});

test('a listener that throws repeatedly causes one warning, and is still called', () => {
  const events = new GatewayEvents();
  let calls = 0;
  const bad = () => {
    calls += 1;
    throw new Error('again');
  };
  events.on('backendsChanged', bad);
  for (const origin of ['http://a', 'http://b', 'http://c']) events.emit('backendsChanged', change(origin));
  expect(calls).toBe(3);
  expect(messages()).toEqual(['A listener of "backendsChanged" threw: Error: again']);
  events.once('backendsChanged', () => {
    throw new Error('another');
  });
  events.emit('backendsChanged', change('http://d'));
  expect(messages()).toHaveLength(2);
});

test('a rejected promise of a listener does not end the process', async () => {
  const events = new GatewayEvents();
  events.on('backendsChanged', async ({ added }) => {
    await Promise.resolve();
    throw new Error(`too late for ${added}`);
  });
  events.emit('backendsChanged', change('http://a'));
  await new Promise(setImmediate);
  expect(messages()).toEqual(['A listener of "backendsChanged" threw: Error: too late for http://a']);
});

test('once() calls once, off() removes, and an event without listeners does nothing', () => {
  const events = new GatewayEvents();
  const heard: string[] = [];
  const hear = ({ added }: { readonly added: readonly string[] }) => void heard.push(...added);
  expect(events.emit('backendsChanged', change('http://a'))).toBe(false);
  events.once('backendsChanged', hear);
  events.emit('backendsChanged', change('http://b'));
  expect(events.emit('backendsChanged', change('http://c'))).toBe(false);
  events.on('backendsChanged', hear);
  events.off('backendsChanged', hear);
  expect(events.emit('backendsChanged', change('http://d'))).toBe(false);
  expect(heard).toEqual(['http://b']);
});
