import { Agent } from 'node:http';
import { afterEach, describe, expect, test } from '@jest/globals';
import type { RoundRobinProxyOptions } from 'expressway';
import { ask } from '../support/ask.ts';
import { BackendProcess } from '../support/backend-process.ts';
import { Cleanup, proxyGateway, type TestGateway } from '../support/gateway.ts';
import { pause } from '../support/pause.ts';
import { eventually } from '../support/servers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const NAMES = ['one', 'two', 'three'];

interface Answered {
  readonly startedAt: number;
  /** The backend's name, or the status of a failure. */
  readonly by: string;
}

/** GETs over 50 connections, each with one request after the other. */
class Load {
  readonly answers: Answered[] = [];
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 50 });
  readonly #clients: Promise<unknown>;
  #stopping = false;

  constructor(url: string) {
    this.#clients = Promise.all(Array.from({ length: 50 }, () => this.#client(url)));
  }

  since(time: number): Answered[] {
    return this.answers.filter(({ startedAt }) => startedAt > time);
  }

  async close(): Promise<void> {
    this.#stopping = true;
    await this.#clients;
    this.#agent.destroy();
  }

  async #client(url: string): Promise<void> {
    while (!this.#stopping) {
      const startedAt = performance.now();
      const answer = await ask(url, { agent: this.#agent }).catch((error: Error) => ({
        status: 0,
        text: error.message,
      }));
      const by = answer.status === 200 ? (answer.text.split(' ')[0] as string) : `${answer.status} ${answer.text}`;
      this.answers.push({ startedAt, by });
      await pause('the machine has others to serve as well', 5);
    }
  }
}

const names = (answers: readonly Answered[]): string[] => [...new Set(answers.map(({ by }) => by))].sort();

/** What is known of the backend named `two`. */
class Watch {
  /** `performance.now()` at which it was taken out for the first time, and the requests that it had then. */
  out: { readonly at: number; readonly inFlight: number } | undefined;
  /** Attempts at it that failed after that. */
  failedSince = 0;
  readonly #gateway: TestGateway;

  constructor(gateway: TestGateway, url: string) {
    this.#gateway = gateway;
    const { events } = gateway.proxy;
    events.on('healthChange', ({ backend, to }) => {
      if (backend === url && to === 'unhealthy') this.#isOut();
    });
    events.on('circuitStateChange', ({ circuit, to }) => {
      if (circuit === url && to === 'open') this.#isOut();
    });
    events.on('attemptFailed', ({ backend }) => {
      if (backend === url && this.out !== undefined) this.failedSince += 1;
    });
  }

  get status() {
    return this.#gateway.proxy.status()[1];
  }

  #isOut(): void {
    this.out ??= { at: performance.now(), inFlight: this.status?.inFlight ?? 0 };
  }
}

async function underLoad(options: Partial<RoundRobinProxyOptions>) {
  const backends: BackendProcess[] = [];
  for (const name of NAMES) backends.push(cleanup.add(await BackendProcess.start(name)));
  const gateway = cleanup.add(await proxyGateway({ backends: backends.map(({ url }) => url), ...options }));
  await eventually('all are healthy', () => gateway.proxy.status().every(({ health }) => health === 'healthy'));
  const victim = backends[1] as BackendProcess;
  const watch = new Watch(gateway, victim.url);
  const load = cleanup.add(new Load(gateway.url));
  await eventually('all answer', () => load.answers.length > 300 && names(load.answers).length === 3);
  expect(names(load.answers)).toEqual([...NAMES].sort());
  return { victim, watch, load };
}

describe('F02, F08: with active checks, fifty connections and one backend of three in trouble', () => {
  test('kill -9: an unhealthy backend gets no request, not even a trial, until a check passes', async () => {
    const { victim, watch, load } = await underLoad({
      circuit: { minimumRequests: 5, openMs: 200, openJitter: 0 },
      // The dead one refuses; nobody else may miss it.
      healthCheck: { path: '/healthz', intervalMs: 300, unhealthyIntervalMs: 100, timeoutMs: 30_000 },
    });
    await victim.kill();
    await eventually('it is unhealthy', () => watch.status?.health === 'unhealthy');
    const out = watch.out as NonNullable<Watch['out']>;
    await pause('five open times of its circuit, of which each would have a trial without the checks', 1_000);
    await eventually('others answer', () => load.since(out.at).length > 300);
    expect(names(load.since(out.at))).toEqual(['one', 'three']);
    expect(watch.failedSince).toBeLessThanOrEqual(out.inFlight);
    expect(watch.status).toMatchObject({ circuit: 'open', available: false });

    const restartedAt = performance.now();
    await victim.restart();
    await eventually('it is healthy', () => watch.status?.health === 'healthy');
    await eventually('its circuit closes', () => watch.status?.circuit === 'closed');
    const closedAt = performance.now();
    // The moment at which one of them has answered says nothing of the other two.
    await eventually('all three answer', () => names(load.since(closedAt)).length >= NAMES.length);
    expect(names(load.since(restartedAt))).toEqual([...NAMES].sort());
  });

  test('SIGSTOP: health checks take the backend out, the others serve, and SIGCONT brings it back', async () => {
    const { victim, watch, load } = await underLoad({
      // Far away: this is for the checks to find.
      circuit: { minimumRequests: 1_000_000 },
      // Longer than the check that takes it out, so that some are still under way then.
      responseTimeoutMs: 10_000,
      // The others must not miss it, however busy the machine is.
      healthCheck: { path: '/healthz', intervalMs: 100, unhealthyIntervalMs: 100, timeoutMs: 4_000, unhealthyAfter: 1 },
    });
    victim.signal('SIGSTOP');
    cleanup.add({ close: () => victim.signal('SIGCONT') });
    await eventually('it is unhealthy', () => watch.status?.health === 'unhealthy');
    const out = watch.out as NonNullable<Watch['out']>;
    expect(out.inFlight).toBeGreaterThan(0);
    await eventually('others answer', () => load.since(out.at).length > 300);
    expect(names(load.since(out.at))).toEqual(['one', 'three']);
    await eventually('what was under way has ended', () => watch.status?.inFlight === 0);
    expect(watch.failedSince).toBeLessThanOrEqual(out.inFlight);
    expect(watch.status).toMatchObject({ circuit: 'closed', available: false });

    victim.signal('SIGCONT');
    await eventually('it is healthy', () => watch.status?.health === 'healthy');
    const healthyAt = performance.now();
    await eventually('all three answer', () => names(load.since(healthyAt)).length >= NAMES.length);
    expect(names(load.since(healthyAt))).toEqual([...NAMES].sort());
  });
});
