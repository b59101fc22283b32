import { Agent, createServer, request, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, jest, test } from '@jest/globals';
import { answer, fail, startBackend } from 'expressway/testing';
import { Cleanup, proxyGateway } from '../support/gateway.ts';
import { pause } from '../support/pause.ts';
import { closedPort, eventually } from '../support/servers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

/** A backend whose process can go away and come back on the same port. */
class RestartingBackend {
  readonly port: number;
  served = 0;
  #server: Server | undefined;

  constructor(port: number) {
    this.port = port;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  async start(): Promise<void> {
    const server = createServer((req, res) => {
      this.served += 1;
      req.resume().on('end', () => res.end('ok'));
    });
    this.#server = server;
    await new Promise<void>((resolve) => server.listen(this.port, '127.0.0.1', resolve));
    expect((server.address() as AddressInfo).port).toBe(this.port);
  }

  /** Running requests end; new connections are refused. */
  close(): void {
    this.#server?.close();
    this.#server?.closeIdleConnections();
    this.#server = undefined;
  }
}

async function backends(count: number): Promise<RestartingBackend[]> {
  const all: RestartingBackend[] = [];
  for (let one = 0; one < count; one++) all.push(cleanup.add(new RestartingBackend(await closedPort())));
  return all;
}

async function behind(all: readonly RestartingBackend[], options: Partial<Parameters<typeof proxyGateway>[0]> = {}) {
  const gateway = cleanup.add(await proxyGateway({ backends: all.map(({ url }) => url), ...options }));
  const circuits = () => gateway.proxy.status().map(({ circuit }) => circuit);
  return { ...gateway, circuits };
}

describe('when every backend process is down', () => {
  test('Retry-After is short; the first request after a restart gets its response, and all circuits close', async () => {
    const all = await backends(3);
    const { url, circuits } = await behind(all);
    await eventually('all circuits are open', async () => {
      await fetch(url, { method: 'POST', body: 'x' });
      return circuits().every((state) => state === 'open');
    });
    const warn = jest.spyOn(process, 'emitWarning');
    const refused = await fetch(url);
    // Its body, which nothing has read, is no misuse.
    expect((await fetch(url, { method: 'POST', body: 'x' })).status).toBe(503);
    expect(warn).not.toHaveBeenCalled();
    warn.mockRestore();
    expect([refused.status, Number(refused.headers.get('retry-after'))]).toEqual([503, 2]);
    await all[2]?.start();
    // At once, whether or not a connection was tried since.
    expect((await fetch(url, { method: 'POST', body: 'x' })).status).toBe(200);
    expect(circuits()[2]).toBe('closed');
    await all[0]?.start();
    await all[1]?.start();
    await eventually('all circuits are closed', () => circuits().every((state) => state === 'closed'));
    expect(all[2]?.served).toBe(1);
  });

  test('the look whether the process is back is no retry where no other backend is asked after it', async () => {
    const { url, proxy, circuits } = await behind(await backends(1), { circuit: { minimumRequests: 1 } });
    const retried: boolean[] = [];
    proxy.events.on('attemptFailed', (event) => retried.push(event.retried));
    const statuses: number[] = [];
    for (let request = 0; request < 3; request++) statuses.push((await fetch(url)).status);

    expect([statuses, circuits()]).toEqual([[502, 503, 503], ['open']]);
    expect(retried).toEqual([false, false, false]);
  });

  test('a request that the last available backend refuses goes to one that may be back', async () => {
    const [back, leaving] = (await backends(2)) as [RestartingBackend, RestartingBackend];
    await leaving.start();
    const { url, circuits } = await behind([back, leaving], { circuit: { minimumRequests: 1 } });
    await eventually('the circuit of the other one is open', async () => {
      expect((await fetch(url)).status).toBe(200);
      return circuits()[0] === 'open';
    });
    leaving.close();
    await back.start();
    expect([(await fetch(url)).status, back.served]).toEqual([200, 1]);
  });

  test('the gateway notices the return of a backend that reset its connections before it was away', async () => {
    const [back] = (await backends(1)) as [RestartingBackend];
    const { url, circuits } = await behind([back], { circuit: { minimumRequests: 1, openMs: 600_000 } });
    const dying = createServer((req) => void req.socket.resetAndDestroy());
    await new Promise<void>((resolve) => dying.listen(back.port, '127.0.0.1', resolve));
    expect((await fetch(url)).status).toBe(502);
    expect(circuits()).toEqual(['open']);
    dying.close();
    await eventually('connections are refused', async () => Number((await fetch(url)).headers.get('retry-after')) < 60);
    await back.start();
    await eventually('its circuit is closed', () => circuits()[0] === 'closed');
    expect(back.served).toBe(0);
  });

  test('drained backends, and those whose circuit a status opened, are not tried', async () => {
    const [away, broken] = (await backends(2)) as [RestartingBackend, RestartingBackend];
    const { url, proxy, circuits } = await behind([away, broken], { circuit: { minimumRequests: 1 } });
    const failing = createServer((_, res) => void res.writeHead(500).end()).listen(broken.port, '127.0.0.1');
    cleanup.add({ close: () => failing.close() });
    await eventually('both circuits are open', async () => {
      await fetch(url);
      return circuits().every((state) => state === 'open');
    });
    proxy.drain(away.url);
    await away.start();
    expect((await fetch(url)).status).toBe(503);
    expect(away.served).toBe(0);
  });
});

describe('three backends that restart one after the other', () => {
  test.each([
    ['without health checks', {}],
    ['with health checks', { healthCheck: { path: '/', intervalMs: 50, unhealthyIntervalMs: 50, timeoutMs: 2_000 } }],
  ])('%s: no GET or POST fails', async (_, options) => {
    const all = await backends(3);
    for (const one of all) await one.start();
    const { port, proxy, circuits } = await behind(all, options);
    const agent = new Agent({ keepAlive: true });
    const statuses = new Map<string, number>();
    let isOver = false;
    cleanup.add({
      close: () => {
        isOver = true;
        agent.destroy();
      },
    });
    let isHeld = false;
    let running = 0;
    const ask = (method: string) =>
      new Promise<void>((resolve) => {
        running += 1;
        const count = (status: string): void => {
          running -= 1;
          statuses.set(status, (statuses.get(status) ?? 0) + 1);
          resolve();
        };
        const asked = request({ host: '127.0.0.1', port, method, agent }, (res) => {
          res.resume().on('end', () => count(String(res.statusCode)));
        });
        asked.on('error', (error) => count(`${method} ${error.message}`));
        asked.end(method === 'POST' ? 'content' : undefined);
      });
    const clients = Array.from({ length: 10 }, async (__, client) => {
      for (let sent = client; !isOver; sent++) {
        if (!isHeld) await ask(sent % 2 === 0 ? 'GET' : 'POST');
        await pause('the pace of the load', 10);
      }
    });
    for (const one of all) {
      // A POST that meets the very moment of the close cannot be repeated, by any proxy: no request is under way then.
      isHeld = true;
      await eventually('no request runs', () => running === 0);
      one.close();
      isHeld = false;
      // By its circuit, or by its health checks before that: then no request can fail there any more.
      await eventually('it is out', () => proxy.status()[all.indexOf(one)]?.available === false);
      await pause('it is away for some looks of those who watch for its return', 300);
      await one.start();
    }
    await eventually('all are back', () => proxy.status().every(({ available }) => available));
    await eventually('all circuits are closed', () => circuits().every((state) => state === 'closed'));
    isOver = true;
    await Promise.all(clients);
    expect([...statuses.keys()]).toEqual(['200']);
  });
});

describe('a circuit that opens again and again', () => {
  const OPEN_MS = 10_000;
  let passedMs = 0;
  const clock = () => {
    const now = Date.now.bind(Date);
    passedMs = 0;
    const spy = jest.spyOn(Date, 'now').mockImplementation(() => now() + passedMs);
    cleanup.add({ close: () => spy.mockRestore() });
  };
  const circuit = { openMs: OPEN_MS, openJitter: 0, halfOpenRequests: 1, minimumRequests: 2 };

  async function gatewayOf(count: number) {
    const servers: { isWell: boolean; hits: number }[] = [];
    const urls: string[] = [];
    for (let i = 0; i < count; i++) {
      const server = { isWell: false, hits: 0 };
      const plan = () => {
        server.hits += 1;
        return server.isWell ? answer() : fail(500);
      };
      servers.push(server);
      urls.push(cleanup.add(await startBackend({ plan })).url);
    }
    const gateway = cleanup.add(await proxyGateway({ backends: urls, circuit }));
    const ask = async () => {
      const response = await fetch(gateway.url);
      await response.arrayBuffer();
      return [response.status, response.headers.get('retry-after')];
    };
    return { servers, ask, circuits: () => gateway.proxy.status().map((one) => one.circuit) };
  }

  test('is open for openMs only while no other backend is available, however long the outage lasts', async () => {
    clock();
    const { servers, ask } = await gatewayOf(1);
    expect([await ask(), await ask()]).toEqual([
      [500, null],
      [500, null],
    ]);
    for (let opening = 0; opening < 8; opening++) {
      expect(await ask()).toEqual([503, '10']);
      passedMs += OPEN_MS;
      expect(await ask()).toEqual([500, null]);
    }
    Object.assign(servers[0] as object, { isWell: true });
    passedMs += OPEN_MS;
    expect(await ask()).toEqual([200, null]);
  });

  test('is open for longer and longer while another backend is available, and a trial follows at once when that one fails, too', async () => {
    clock();
    const { servers, ask, circuits } = await gatewayOf(2);
    const [bad, good] = servers as [(typeof servers)[0], (typeof servers)[0]];
    good.isWell = true;
    const trials: number[] = [];
    for (let period = 0; period < 16; period++) {
      const before = bad.hits;
      for (let i = 0; i < 4; i++) await ask();
      if (bad.hits > before && period > 0) trials.push(period);
      passedMs += OPEN_MS;
    }
    expect(trials).toEqual([1, 3, 7, 15]);
    [good.isWell, bad.isWell] = [false, true];
    const before = bad.hits;
    await eventually('the good one is out', async () => {
      await ask();
      return circuits()[1] === 'open';
    });
    expect(await ask()).toEqual([200, null]);
    expect(bad.hits).toBeGreaterThan(before);
  });
});
