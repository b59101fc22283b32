import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';
import fc from 'fast-check';
import type { Backend } from '../../../lib/backends/backend.ts';
import { Backend as PoolBackend } from '../../../lib/backends/backend.ts';
import { BackendPool } from '../../../lib/backends/backend-pool.ts';
import { Ejections } from '../../../lib/backends/health/ejections.ts';
import { RequestQueue, type Waiter } from '../../../lib/backends/queue.ts';
import { selectionPolicy } from '../../../lib/backends/selection/load-balancing.ts';
import type { Slot } from '../../../lib/backends/slot.ts';
import { Circuit, circuitDefaults } from '../../../lib/circuit-breaker/circuit.ts';
import type { Verdict } from '../../../lib/core/outcome.ts';
import { exchange } from './fake-backend.ts';

const backendConfigs = (count: number) =>
  Array.from({ length: count }, (_, index) => ({ url: new URL(`http://10.0.0.${index}`), weight: 1 }));
const POLICIES = ['round-robin', 'weighted', 'least-requests', 'latency', 'hash'] as const;
const QUEUE_TIMEOUT_MS = 5_000;

beforeEach(() => {
  jest.useFakeTimers({ doNotFake: ['nextTick', 'queueMicrotask', 'setImmediate'] });
});
afterEach(() => {
  jest.useRealTimers();
});

/** A pool with a queue, and requests on their way through it as the proxy sends them. */
class Scene {
  readonly pool: BackendPool;
  readonly line: RequestQueue;
  readonly ejections: Ejections;
  readonly running: { readonly request: Request; readonly backend: Backend; readonly slot: Slot }[] = [];
  readonly waiting: Request[] = [];

  readonly #configs: ReturnType<typeof backendConfigs>;

  constructor(policy: (typeof POLICIES)[number], configs = backendConfigs(3)) {
    this.#configs = configs;
    const advance = () => this.line.advance();
    this.line = new RequestQueue(
      { size: 50, timeoutMs: QUEUE_TIMEOUT_MS },
      { hasAny: () => this.pool.hasCandidate([]), nextChangeMs: () => this.pool.nextChangeMs() },
    );
    const needs = { slowStartMs: 0, observesLatency: false, maxRequests: 1, freed: advance };
    this.pool = new BackendPool(selectionPolicy(policy), (config) => {
      const circuit = new Circuit(config.url.origin, { ...circuitDefaults, minimumRequests: 1, openMs: 1_000 });
      circuit.onStateChange((_from, to) => {
        if (to === 'closed') queueMicrotask(advance);
      });
      return new PoolBackend(config, circuit, needs);
    });
    this.pool.setBackends(configs);
    this.ejections = new Ejections({ maxUnavailableRatio: 1, panic: false }, () => this.pool.backends, advance);
  }

  arrive(address: string, tried: readonly Backend[]): void {
    const request = new Request(this, address, tried);
    this.line.advance();
    if (!request.tryEnter() && this.pool.hasFull(tried) && this.line.join(request)) this.waiting.push(request);
  }

  finish(index: number, verdict: Verdict): void {
    const [one] = this.running.splice(index % (this.running.length || 1), 1);
    one?.slot.release(verdict);
    // As the proxy does it: what failed is tried elsewhere.
    if (one !== undefined && verdict === 'failure')
      this.arrive(one.request.address, [...one.request.tried, one.backend]);
  }

  hold(index: number, act: 'drain' | 'isolate' | 'restore'): void {
    this.pool.change(this.#configs[index]?.url.origin as string, (backend) => backend[act]());
    this.line.advance();
  }

  setBackends(count: number): void {
    const change = this.pool.setBackends(this.#configs.slice(0, count));
    this.ejections.membershipChanged(change.removed);
    this.line.advance();
  }

  leave(index: number): void {
    const [request] = this.waiting.splice(index % (this.waiting.length || 1), 1);
    if (request !== undefined) this.line.leave(request);
  }

  get starved(): Request[] {
    return this.waiting.filter(({ tried }) => this.pool.hasCandidate(tried));
  }
}

class Request implements Waiter {
  readonly address: string;
  readonly tried: readonly Backend[];
  readonly #scene: Scene;

  constructor(scene: Scene, address: string, tried: readonly Backend[]) {
    this.#scene = scene;
    this.address = address;
    this.tried = tried;
  }

  tryEnter(): boolean {
    const { pool, running, waiting } = this.#scene;
    const backend = pool.select(exchange({ address: this.address }), this.tried);
    const slot = backend?.acquire();
    if (backend === undefined || slot === undefined) return false;
    running.push({ request: this, backend, slot });
    if (waiting.includes(this)) waiting.splice(waiting.indexOf(this), 1);
    return true;
  }

  expired(): void {
    this.#scene.waiting.splice(this.#scene.waiting.indexOf(this), 1);
  }
}

const small = fc.nat({ max: 9 });
const step: fc.Arbitrary<(scene: Scene) => void | Promise<void>> = fc.oneof(
  { weight: 6, arbitrary: small.map((client) => (scene: Scene) => scene.arrive(`192.0.2.${client}`, [])) },
  { weight: 3, arbitrary: small.map((index) => (scene: Scene) => scene.finish(index, 'success')) },
  { weight: 3, arbitrary: small.map((index) => (scene: Scene) => scene.finish(index, 'failure')) },
  { weight: 1, arbitrary: small.map((index) => (scene: Scene) => scene.finish(index, 'neutral')) },
  { weight: 1, arbitrary: small.map((index) => (scene: Scene) => scene.leave(index)) },
  {
    weight: 2,
    arbitrary: fc.tuple(fc.nat({ max: 2 }), fc.constantFrom('drain', 'isolate', 'restore', 'restore')).map(
      ([index, act]) =>
        (scene: Scene) =>
          scene.hold(index, act),
    ),
  },
  {
    weight: 1,
    arbitrary: fc.tuple(fc.nat({ max: 2 }), fc.integer({ min: 1, max: 700 })).map(([index, ms]) => (scene: Scene) => {
      const backend = scene.pool.backends[index];
      if (backend !== undefined) scene.ejections.rest(backend, ms);
    }),
  },
  { weight: 1, arbitrary: fc.integer({ min: 1, max: 3 }).map((count) => (scene: Scene) => scene.setBackends(count)) },
  {
    weight: 4,
    arbitrary: fc.integer({ min: 1, max: 1_500 }).map((ms) => async () => {
      await jest.advanceTimersByTimeAsync(ms);
    }),
  },
);

test.each(POLICIES)('%s: no request waits while a backend is available that it was not sent to', async (policy) => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 30, maxLength: 60 }), async (steps) => {
      const scene = new Scene(policy);
      for (const act of steps) {
        await act(scene);
        await new Promise((resolve) => setImmediate(resolve));
        expect(scene.starved).toEqual([]);
        expect(scene.line.load.waiting).toBe(scene.waiting.length);
      }
      scene.line.close();
      scene.ejections.close();
    }),
    { numRuns: 60 },
  );
});

// Pools of more than 8 and of more than 32 backends are looked through in other ways.
const sizes = POLICIES.flatMap((policy) => [3, 12, 40].map((size) => [policy, size] as const));

test.each(sizes)(
  '%s, %i backends: each gets requests once it is restored, after any operations',
  async (policy, size) => {
    const acts = fc.constantFrom('drain', 'isolate', 'restore', 'reload', 'pick');
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(fc.nat({ max: size - 1 }), acts), { maxLength: 12 }), async (steps) => {
        const scene = new Scene(policy, backendConfigs(size));
        let client = 0;
        const pick = () => scene.pool.select(exchange({ address: `192.0.${client >> 8}.${client++ & 255}` }), []);
        for (const [index, act] of steps) {
          if (act === 'pick') pick();
          else if (act === 'reload') scene.setBackends(size);
          else scene.hold(index, act);
        }
        for (let index = 0; index < size; index += 1) scene.hold(index, 'restore');
        await new Promise((resolve) => setImmediate(resolve));
        expect(new Set(Array.from({ length: 30 * size }, pick)).size).toBe(size);
      }),
      {
        numRuns: 25,
        examples: [
          [
            [
              [0, 'drain'],
              [0, 'pick'],
            ],
          ],
          [
            [
              [0, 'drain'],
              [0, 'reload'],
              [0, 'pick'],
            ],
          ],
        ],
      },
    );
  },
);
