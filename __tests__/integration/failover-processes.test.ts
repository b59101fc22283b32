import { Agent, request } from 'node:http';
import { afterEach, describe, expect, test } from '@jest/globals';
import { BackendProcess } from '../support/backend-process.ts';
import { Cleanup, proxyGateway } from '../support/gateway.ts';
import { eventually } from '../support/servers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

interface Tally {
  readonly statuses: Record<string, number>;
  readonly names: Record<string, number>;
  wrong: number;
}

/** Closed-loop clients on kept connections; each answer must carry the nonce of its request. */
class Load {
  readonly tally: Tally = { statuses: {}, names: {}, wrong: 0 };
  readonly #agent: Agent;
  readonly #clients: Promise<void>[];
  #running = true;
  #sent = 0;

  constructor(port: number, clients: number, method: string, delayMs = 1) {
    this.#agent = new Agent({ keepAlive: true, maxSockets: clients });
    this.#clients = Array.from({ length: clients }, async () => {
      while (this.#running) await this.#one(port, method, delayMs);
    });
  }

  get sent(): number {
    return this.#sent;
  }

  /** For a test that fails: otherwise the load would go on. */
  async close(): Promise<void> {
    await this.stop();
  }

  async stop(): Promise<Tally> {
    this.#running = false;
    await Promise.all(this.#clients);
    this.#agent.destroy();
    return this.tally;
  }

  #one(port: number, method: string, delayMs: number): Promise<void> {
    const nonce = String(this.#sent++);
    return new Promise((resolve) => {
      const headers = { 'x-nonce': nonce, 'x-delay': String(delayMs) };
      const outgoing = request({ port, host: '127.0.0.1', method, headers, agent: this.#agent }, (response) => {
        let text = '';
        response.on('data', (chunk) => {
          text += chunk;
        });
        response.on('close', () => {
          count(this.tally.statuses, String(response.complete ? response.statusCode : 'cut'));
          const [name = '', echoed] = text.split(' ');
          if (response.statusCode === 200) {
            count(this.tally.names, name);
            if (echoed !== nonce) this.tally.wrong += 1;
          }
          resolve();
        });
      });
      outgoing.on('error', (error: NodeJS.ErrnoException) => {
        count(this.tally.statuses, error.code ?? error.message);
        resolve();
      });
      outgoing.end(method === 'POST' ? 'content' : undefined);
    });
  }
}

function count(counts: Record<string, number>, key: string): void {
  counts[key] = (counts[key] ?? 0) + 1;
}

async function setUp(options: Partial<Parameters<typeof proxyGateway>[0]> = {}) {
  const backends: BackendProcess[] = [];
  for (const name of ['one', 'two', 'three']) backends.push(cleanup.add(await BackendProcess.start(name)));
  const gateway = cleanup.add(
    await proxyGateway({
      backends: backends.map((backend) => backend.url),
      circuit: { openMs: 500 },
      // A stopped process misses it. The others must not, however busy the machine is.
      responseTimeoutMs: 3_000,
      connectTimeoutMs: 3_000,
      ...options,
    }),
  );
  return { backends: backends as [BackendProcess, BackendProcess, BackendProcess], gateway };
}

const served = async (load: Load, more: number) => {
  const before = load.sent;
  await eventually(`${more} more requests`, () => load.sent >= before + more);
};

async function executions(backends: readonly BackendProcess[]): Promise<Record<string, number>> {
  const total: Record<string, number> = {};
  for (const backend of backends) {
    const counts = (await (await fetch(`${backend.url}/executions`)).json()) as Record<string, number>;
    for (const [nonce, times] of Object.entries(counts)) total[nonce] = (total[nonce] ?? 0) + times;
  }
  return total;
}

describe('three backend processes under load of fifty connections', () => {
  test('F02: kill -9 of one: no failed GET; restarted, it takes traffic again', async () => {
    const { backends, gateway } = await setUp();
    const load = cleanup.add(new Load(gateway.port, 50, 'GET'));
    await served(load, 500);
    await backends[0].kill();
    await served(load, 1_000);
    const before = load.tally.names.one ?? 0;
    await backends[0].restart();
    await eventually('it takes traffic again', () => (load.tally.names.one ?? 0) > before + 50);
    const { statuses, wrong } = await load.stop();
    expect(wrong).toBe(0);
    expect(Object.keys(statuses)).toEqual(['200']);
  });

  test('F08: SIGSTOP of one: no failed GET, and it returns after SIGCONT', async () => {
    const { backends, gateway } = await setUp();
    const load = cleanup.add(new Load(gateway.port, 50, 'GET'));
    await served(load, 500);
    backends[1].signal('SIGSTOP');
    await eventually('its circuit opens', () => gateway.proxy.status()[1]?.circuit === 'open');
    await served(load, 500);
    const before = load.tally.names.two ?? 0;
    backends[1].signal('SIGCONT');
    await eventually('it takes traffic again', () => (load.tally.names.two ?? 0) > before + 50);
    const { statuses, wrong } = await load.stop();
    expect(wrong).toBe(0);
    expect(Object.keys(statuses)).toEqual(['200']);
  });

  test('F04: kill -9 and SIGSTOP during POSTs: no POST is executed twice, and failed ones get an error', async () => {
    // A POST that misses it is not repeated, and may fail.
    const { backends, gateway } = await setUp({ responseTimeoutMs: 400 });
    const load = cleanup.add(new Load(gateway.port, 50, 'POST'));
    await served(load, 500);
    await backends[0].kill();
    await served(load, 300);
    backends[1].signal('SIGSTOP');
    await eventually('its circuit opens', () => gateway.proxy.status()[1]?.circuit === 'open');
    backends[1].signal('SIGCONT');
    await backends[0].restart();
    await served(load, 300);
    const { statuses, wrong } = await load.stop();
    expect(wrong).toBe(0);
    expect(Object.keys(statuses).filter((status) => !['200', '502', '504'].includes(status))).toEqual([]);
    const times = Object.entries(await executions(backends)).filter(([nonce]) => nonce !== '');
    expect(times.length).toBeGreaterThan(500);
    expect(times.filter(([, count]) => count > 1)).toEqual([]);
  });
});
