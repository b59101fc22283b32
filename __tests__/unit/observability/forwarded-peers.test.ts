import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';
import type { FinishedRequest } from 'expressway';
import { CLIENT_PROBLEMS } from '../../../lib/observability/problems/client-problems.ts';
import { ForwardedPeers } from '../../../lib/observability/problems/forwarded-peers.ts';
import type { TrafficSources } from '../../../lib/observability/problems/traffic-sources.ts';

beforeEach(() => {
  jest.spyOn(process, 'emitWarning').mockReturnValue();
});

afterEach(() => {
  jest.restoreAllMocks();
});

interface Request {
  readonly peer?: string;
  readonly forwarded?: string;
  readonly client?: string;
  readonly trust?: unknown;
  readonly status?: number;
}

const finished = ({ peer = '10.0.0.5', forwarded, client = peer, trust = false, status = 200 }: Request) =>
  ({
    req: {
      headers: forwarded === undefined ? {} : { 'x-forwarded-for': forwarded },
      socket: { remoteAddress: peer },
      app: { get: () => trust },
    },
    client,
    status,
  }) as unknown as FinishedRequest;

/** Problems after so many requests of some kinds. */
type Kind = readonly [number, (index: number) => Request];

function after(...kinds: readonly Kind[]) {
  const peers = new ForwardedPeers();
  for (const [count, make] of kinds) for (let i = 0; i < count; i += 1) peers.saw(finished(make(i)));
  const events = { on: () => events, off: () => events };
  const sources = { peers, events } as unknown as TrafficSources;
  return CLIENT_PROBLEMS.flatMap((kind) => {
    const detector = kind.detector(sources);
    return [...detector.look()].map(({ subject }) => [kind.problem, subject]);
  });
}

const proxied = (index: number): Request => ({ forwarded: `192.0.2.${index}` });

test.each<[string, readonly Kind[], readonly (readonly string[])[]]>([
  ['a proxy that nobody trusts', [[30, proxied]], [['trust_proxy_missing', '10.0.0.5']]],
  [
    'the same beside some direct clients',
    [
      [30, proxied],
      [20, () => ({ peer: '192.0.2.9' })],
    ],
    [['trust_proxy_missing', '10.0.0.5']],
  ],
  [
    'one client that invents addresses, beside many others',
    [
      [10, proxied],
      [90, (i: number) => ({ peer: `192.0.2.${i}` })],
    ],
    [],
  ],
  ['a client that always sends the same', [[50, () => ({ forwarded: '1.2.3.4' })]], []],
  ['a proxy that is trusted', [[50, (i: number) => ({ ...proxied(i), client: `192.0.2.${i}` })]], []],
  ['a few requests', [[9, proxied]], []],
  [
    'two hops trusted where there is one',
    [[30, (i: number) => ({ ...proxied(i), trust: 2, client: 'x' })]],
    [['trust_proxy_hops', '']],
  ],
  ['one hop trusted where there is none', [[30, () => ({ trust: 1 })]], [['trust_proxy_hops', '']]],
  ['as many hops as there are', [[30, (i: number) => ({ forwarded: `192.0.2.${i}, 10.0.0.1`, trust: 2 })]], []],
  [
    'health checks of a load balancer without the header',
    [
      [30, (i: number) => ({ ...proxied(i), trust: 1 })],
      [20, () => ({ trust: 1 })],
    ],
    [],
  ],
])('%s', (_name, kinds, found) => {
  expect(after(...kinds)).toEqual(found);
});

test('its memory is bounded, and cleared after ten seconds', () => {
  const peers = new ForwardedPeers();
  for (let i = 0; i < 100_000; i += 1)
    peers.saw(finished({ peer: `10.${i >> 16}.${(i >> 8) % 256}.${i % 256}`, forwarded: `a${i}` }));
  expect(peers.recent()).toMatchObject({ requests: 200 });
  expect(peers.recent().untrusted.size).toBe(64);
  for (let look = 0; look < 5; look += 1) peers.turn();
  expect(peers.recent()).toMatchObject({ requests: 0 });
});
