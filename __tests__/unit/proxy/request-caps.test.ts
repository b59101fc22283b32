import { describe, expect, test } from '@jest/globals';
import type { Exchange } from '../../../lib/core/exchange.ts';
import { InFlightCaps } from '../../../lib/proxy/in-flight-caps.ts';
import { RequestCaps } from '../../../lib/proxy/request-caps.ts';
import { Tunnels } from '../../../lib/proxy/tunnel/tunnels.ts';
import { Watchdog } from '../../../lib/proxy/watchdog.ts';

const TUNNEL = { idleTimeoutMs: 1_000, sendTimeoutMs: 1_000, closeTimeoutMs: 1_000, max: 1, maxPerClient: 1 };

function rig(upgrade: boolean) {
  const caps = new InFlightCaps({ maxInFlight: 2, maxInFlightPerClient: 2 });
  const tunnels = new Tunnels(TUNNEL as never, new Watchdog(1_000));
  const exchange = () => ({ clientAddress: '192.0.2.1', upgrade: upgrade ? {} : undefined }) as unknown as Exchange;
  return { caps, admit: () => new RequestCaps(caps, tunnels, exchange()) };
}

describe('leave()', () => {
  test('a second time counts for nothing: the places of others stay taken', () => {
    const { caps, admit } = rig(false);
    const [one, two] = [admit(), admit()];
    expect([one.enter(), two.enter()]).toEqual([undefined, undefined]);
    one.leave();
    one.leave();
    expect(caps.inFlight).toBe(1);
    expect(admit().enter()).toBeUndefined();
    expect(admit().enter()).toMatchObject({ kind: 'rejected', cause: 'overloaded' });
  });

  test('gives a place back to the next request of the client, of a tunnel too', () => {
    const { caps, admit } = rig(true);
    const [one, two] = [admit(), admit()];
    expect(one.enter()).toBeUndefined();
    // Its place among the requests is taken by then.
    expect(two.enter()).toMatchObject({ kind: 'rejected' });
    two.leave();
    two.leave();
    expect(caps.inFlight).toBe(1);
    one.leave();
    one.leave();
    expect(caps.inFlight).toBe(0);
    expect(two.enter()).toBeUndefined();
    two.leave();
    expect(caps.inFlight).toBe(0);
  });
});
