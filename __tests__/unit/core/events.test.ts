import { expect, jest, test } from '@jest/globals';
import { GatewayEvents } from '../../../lib/core/events.ts';

test('a listener that throws becomes a process warning and harms nobody', () => {
  const warn = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
  const events = new GatewayEvents();
  const heard: string[][] = [];
  events.on('backendsChanged', ({ added }) => {
    throw new Error(`cannot take ${added}`);
  });
  expect(events.emit('backendsChanged', { added: ['http://a'], removed: [] })).toBe(true);
  expect(warn).toHaveBeenCalledWith('A listener of "backendsChanged" threw: Error: cannot take http://a', {
    type: 'ExpresswayListenerWarning',
    code: 'WARN_EXPRESSWAY_LISTENER',
    detail: expect.stringContaining('events.test.ts'),
  });
  warn.mockRestore();
  events.removeAllListeners();
  events.on('backendsChanged', ({ added }) => void heard.push([...added]));
  events.emit('backendsChanged', { added: ['http://b'], removed: [] });
  expect(heard).toEqual([['http://b']]);
});
