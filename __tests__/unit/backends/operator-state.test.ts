import { afterEach, describe, expect, test } from '@jest/globals';
import { roundRobinProxy } from 'expressway';

const BACKENDS = ['http://127.0.0.1:1', 'http://127.0.0.1:2'];
const [A, B] = BACKENDS as [string, string];

let close = async (): Promise<void> => {};
afterEach(() => close());

function open() {
  const proxy = roundRobinProxy({ backends: BACKENDS });
  close = () => proxy.close();
  const of = (backend: string) => proxy.status().find((one) => one.backend === backend);
  return { proxy, of };
}

describe('an operator keeps a backend out', () => {
  test('drained: not available, its weight and circuit as they are, over a new list too', () => {
    const { proxy, of } = open();
    expect(proxy.drain(A)).toBe(true);
    expect(of(A)).toMatchObject({
      held: 'drained',
      available: false,
      weight: 1,
      effectiveWeight: 0,
      circuit: 'closed',
    });
    proxy.setBackends([{ url: A, weight: 5 }, B]);
    expect(of(A)).toMatchObject({ held: 'drained', available: false, weight: 5 });
    expect(of(B)).toMatchObject({ held: undefined, available: true });
    expect(proxy.restore(A)).toBe(true);
    expect(of(A)).toMatchObject({ held: undefined, available: true, effectiveWeight: 5 });
  });

  test('isolated: its circuit too, and restored it is closed', () => {
    const { proxy, of } = open();
    const changes: string[] = [];
    proxy.events.on('circuitStateChange', ({ circuit, to }) => changes.push(`${circuit} ${to}`));
    proxy.isolate(A);
    proxy.isolate(A);
    expect(of(A)).toMatchObject({ held: 'isolated', available: false, circuit: 'isolated' });
    proxy.restore(A);
    expect(of(A)).toMatchObject({ held: undefined, available: true, circuit: 'closed' });
    expect(changes).toEqual([`${A} isolated`, `${A} closed`]);
  });

  test('from the one to the other', () => {
    const { proxy, of } = open();
    proxy.isolate(A);
    proxy.drain(A);
    expect(of(A)).toMatchObject({ held: 'drained', available: false, circuit: 'closed' });
    proxy.isolate(A);
    expect(of(A)).toMatchObject({ held: 'isolated', circuit: 'isolated' });
  });

  test('restoring a backend that is not held changes nothing; an unknown backend is not found', () => {
    const { proxy, of } = open();
    const before = of(A);
    expect(proxy.restore(A)).toBe(true);
    expect(of(A)).toEqual(before);
    for (const act of [proxy.drain, proxy.isolate, proxy.restore]) expect(act('http://nobody')).toBe(false);
  });

  test('one that leaves the list and comes back is held no more', () => {
    const { proxy, of } = open();
    proxy.drain(A);
    proxy.setBackends([B]);
    proxy.setBackends([A, B]);
    expect(of(A)).toMatchObject({ held: undefined, available: true });
  });
});
