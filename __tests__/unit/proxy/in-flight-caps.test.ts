import { expect, test } from '@jest/globals';
import { InFlightCaps } from '../../../lib/proxy/in-flight-caps.ts';

const enter = (caps: InFlightCaps, clients: readonly (string | undefined)[]) => clients.map((one) => caps.enter(one));

test('without caps, everybody enters', () => {
  const caps = new InFlightCaps({ maxInFlight: 0, maxInFlightPerClient: 0 });
  expect(enter(caps, ['a', 'a', undefined])).toEqual([undefined, undefined, undefined]);
  expect(caps.inFlight).toBe(3);
});

test.each([1, 2])(
  'with a cap of %i, so many requests are in flight, and a place that is left is taken again',
  (max) => {
    const caps = new InFlightCaps({ maxInFlight: max, maxInFlightPerClient: 0 });
    expect(enter(caps, Array(max + 1).fill('a'))).toEqual([...Array(max).fill(undefined), 'overloaded']);
    expect(caps.inFlight).toBe(max);
    caps.leave('a');
    expect(caps.inFlight).toBe(max - 1);
    expect(enter(caps, ['b', 'b'])).toEqual([undefined, 'overloaded']);
  },
);

test.each([1, 2])('with a cap of %i for each client, a client gets as many, regardless of other clients', (max) => {
  const caps = new InFlightCaps({ maxInFlight: 0, maxInFlightPerClient: max });
  for (let round = 0; round < 3; round += 1) {
    for (const client of ['a', 'b']) {
      const causes = enter(caps, Array(max + 1).fill(client));
      expect(causes).toEqual([...Array(max).fill(undefined), 'client_overload']);
    }
    expect(caps.inFlight).toBe(2 * max);
    caps.leave('a');
    expect(enter(caps, ['a', 'a'])).toEqual([undefined, 'client_overload']);
    for (const client of ['a', 'b']) for (let i = 0; i < max; i += 1) caps.leave(client);
    expect(caps.inFlight).toBe(0);
  }
});

test('a request without a client address counts among all, and for no client', () => {
  const caps = new InFlightCaps({ maxInFlight: 3, maxInFlightPerClient: 1 });
  expect(enter(caps, [undefined, undefined, 'a', 'b'])).toEqual([undefined, undefined, undefined, 'overloaded']);
  caps.leave(undefined);
  expect(enter(caps, ['a', 'b'])).toEqual(['client_overload', undefined]);
});
