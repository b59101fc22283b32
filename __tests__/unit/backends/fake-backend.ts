import { IncomingMessage, type OutgoingHttpHeaders, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import type { BackendView, SelectionPolicy } from '../../../lib/backends/selection/selection-policy.ts';
import { type Exchange, exchangeOf } from '../../../lib/core/exchange.ts';

/** A backend whose numbers a test sets at will. */
export class FakeBackend implements BackendView {
  readonly origin: string;
  weight: number;
  /** Of its weight; less than 1 is a slow start. */
  share = 1;
  inFlight = 0;
  latencyMs = 0;
  available = true;
  full = false;
  /** How often it was asked. */
  asked = 0;

  constructor(origin: string, weight = 1) {
    this.origin = origin;
    this.weight = weight;
  }

  get effectiveWeight(): number {
    return this.weight * this.share;
  }

  isAvailable(): boolean {
    this.asked += 1;
    return this.available && !this.full && this.weight > 0;
  }

  isOnlyFull(): boolean {
    return this.available && this.full && this.weight > 0;
  }
}

/** Named a, b, c and so on: `pool(5, 1, 1)` is three backends of these weights. */
export const pool = (...weights: number[]): FakeBackend[] =>
  weights.map((weight, index) => new FakeBackend(String.fromCharCode(97 + index), weight));

/** So many backends of one weight, with origins as in real life. */
export const manyBackends = (count: number, weight: (index: number) => number = () => 1): FakeBackend[] =>
  Array.from({ length: count }, (_, index) => {
    return new FakeBackend(`http://10.0.${index >> 8}.${index & 255}:8080`, weight(index));
  });

export interface FakeRequest {
  readonly address?: string;
  readonly headers?: Readonly<Record<string, string | string[]>>;
  readonly encrypted?: boolean;
  /** Whether the app trusts the peer. */
  readonly trusted?: boolean;
}

/** The exchange of a request that came from an address with some fields. */
export function exchange(request: FakeRequest = {}): Exchange {
  const { address = '192.0.2.1', headers = {}, encrypted = false, trusted = false } = request;
  const socket = Object.assign(new Socket(), { encrypted });
  Object.defineProperty(socket, 'remoteAddress', { value: address });
  const req = Object.assign(new IncomingMessage(socket), {
    app: { get: () => () => trusted },
  });
  Object.assign(req.headers, headers);
  return exchangeOf(req, new ServerResponse(req));
}

export const setCookies = ({ res }: Exchange): string[] =>
  [(res.getHeaders() as OutgoingHttpHeaders)['set-cookie'] ?? []].flat();

/** What so many picks in a row give, as one word; `-` is nothing. */
export function word(policy: SelectionPolicy, backends: readonly FakeBackend[], picks: number): string {
  const one = exchange();
  return Array.from({ length: picks }, () => policy.select(backends, one, [])?.origin ?? '-').join('');
}

/** How often each backend is picked. */
export function counts(policy: SelectionPolicy, backends: readonly FakeBackend[], picks: number): number[] {
  const one = exchange();
  const found = new Map<FakeBackend, number>(backends.map((backend) => [backend, 0]));
  for (let pick = 0; pick < picks; pick += 1) {
    const backend = policy.select(backends, one, []);
    if (backend !== undefined) found.set(backend, (found.get(backend) as number) + 1);
  }
  return [...found.values()];
}

/** Numbers from 0 to 1 that are the same in every run (Mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let bits = Math.imul(state ^ (state >>> 15), 1 | state);
    bits = (bits + Math.imul(bits ^ (bits >>> 7), 61 | bits)) ^ bits;
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  };
}
