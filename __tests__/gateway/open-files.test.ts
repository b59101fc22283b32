import { once } from 'node:events';
import { type AddressInfo, connect } from 'node:net';
import { afterEach, describe, expect, jest, test } from '@jest/globals';
import { createAdminServer } from '../../lib/gateway/admin/admin-server.ts';
import { readConfig } from '../../lib/gateway/config/config.ts';
import type { Logger } from '../../lib/gateway/logging/logger.ts';
import { filesFor, shareOut, withinOpenFiles } from '../../lib/gateway/open-files.ts';
import { ask } from '../support/ask.ts';
import { RawClient } from '../support/raw-client.ts';
import { closeAll, openBackend } from './gateways.ts';
import { endAll, Proc } from './proc.ts';
import { until } from './until.ts';

afterEach(async () => {
  await endAll();
  await closeAll();
});

describe('open files', () => {
  test.each([
    // limit, backends, connections, adminConnections
    [64, 2, 11, 8],
    [1_024, 2, 431, 128],
    [20_290, 2, 10_000, 256],
    [Number.POSITIVE_INFINITY, 2, Number.POSITIVE_INFINITY, 256],
    // Fewer than a gateway needs: it tries.
    [16, 2, 1, 8],
  ])(
    'a limit of %d for %d backends allows %d connections and %d to the admin listener',
    (limit, backends, connections, admin) => {
      expect(shareOut(limit, backends)).toEqual({ connections, adminConnections: admin });
    },
  );

  test('filesFor() gives the smallest sufficient limit', () => {
    for (const connections of [1_000, 10_000, 50_000]) {
      expect(shareOut(filesFor(connections, 3), 3).connections).toBe(connections);
      expect(shareOut(filesFor(connections, 3) - 1, 3).connections).toBe(connections - 1);
    }
  });

  test('MAX_CONNECTIONS is lowered with a warning only when it does not fit', () => {
    const [warn, info] = [jest.fn(), jest.fn()];
    const log = { warn, info } as unknown as Logger;
    const boundOf = (maxConnections: string, limit: number) => {
      const config = readConfig({ MAX_CONNECTIONS: maxConnections });
      return withinOpenFiles(config, log, limit).config.bounds.maxConnections;
    };
    expect(boundOf('11', 64)).toBe(11);
    expect(boundOf('0', Number.POSITIVE_INFINITY)).toBe(0);
    expect(warn).not.toHaveBeenCalled();
    expect(boundOf('12', 64)).toBe(11);
    expect(boundOf('0', 64)).toBe(11);
    expect(warn.mock.calls.map(([, message]) => message)).toEqual([
      'MAX_CONNECTIONS is lowered to 11: 12 needs 314 open files, and ulimit -n is 64',
      'MAX_CONNECTIONS is lowered to 11: 0 needs a bound, and ulimit -n is 64',
    ]);
    // Nobody has asked for the default.
    expect(boundOf('', 20_000)).toBe(9_855);
    expect(info.mock.calls.map(([, message]) => message)).toEqual([
      'MAX_CONNECTIONS is lowered to 9855: 10000 needs 20290 open files, and ulimit -n is 20000',
    ]);
    expect(warn).toHaveBeenCalledTimes(2);
  });
});

test('with 64 open files and too many clients, no backend is blamed and the admin listener responds', async () => {
  const backend = await openBackend('one');
  const env = { HOST: '127.0.0.1', PORT: '0', ADMIN_PORT: '0', BACKENDS: backend.url, RATE_LIMIT_MAX: '1000000' };
  const proc = new Proc('server.ts', env, [], undefined, 64);
  const port = Number(new URL(await proc.said(/"url":"([^"]+)"/)).port);
  const adminUrl = await proc.said(/"adminUrl":"([^"]+)"/);
  await proc.said(/"msg":"MAX_CONNECTIONS is lowered to 11: /);
  const statuses = new Map<string, number>();
  /** One request on a connection of its own; a refused connection has no status. */
  const one = () =>
    new Promise<void>((resolve) => {
      const socket = connect(port, '127.0.0.1');
      let bytes = '';
      socket.setTimeout(20_000, () => socket.destroy());
      socket.on('data', (chunk) => {
        bytes += chunk;
      });
      socket.on('error', () => {});
      socket.on('close', () => {
        const status = bytes.slice(9, 12);
        statuses.set(status, (statuses.get(status) ?? 0) + 1);
        resolve();
      });
      socket.write('GET /slow?ms=20 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
    });
  for (let round = 0; round < 10; round++) {
    const burst = Array.from({ length: 60 }, one);
    expect((await ask(`${adminUrl}/livez`)).status).toBe(200);
    await Promise.all(burst);
  }
  expect([...statuses.keys()].filter((status) => status !== '' && status !== '200')).toEqual([]);
  expect(statuses.get('200')).toBeGreaterThanOrEqual(100);
  const { json } = await ask(`${adminUrl}/status`);
  expect(json.backends[0]).toMatchObject({ circuit: 'closed', available: true });
});

describe('the admin listener at its maximum of connections', () => {
  const view = { phase: 'running', status: () => ({}) } as const;

  async function listening(maxConnections: number) {
    const server = createAdminServer(view, { maxConnections });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return { server, port: (server.address() as AddressInfo).port };
  }

  test('closes the longest idle connection for each new one', async () => {
    const { server, port } = await listening(16);
    const clients: RawClient[] = [];
    // One after the other, so that the server sees them in this order.
    for (let client = 0; client < 12; client++) clients.push(await RawClient.connect(port));
    // The first is the latest to have had a request, and so not the one that has waited longest.
    clients[0]?.send('GET /livez HTTP/1.1\r\nHost: a\r\n\r\n');
    expect((await clients[0]?.response())?.status).toBe(200);
    const late = await Promise.all(Array.from({ length: 4 }, () => RawClient.connect(port)));
    await until(() => clients.slice(1, 5).every(({ closedBy }) => closedBy !== undefined));
    expect([clients[0], ...clients.slice(5), ...late].map((client) => client?.closedBy)).toEqual(
      Array(12).fill(undefined),
    );
    for (let probe = 0; probe < 40; probe++) {
      expect((await ask(`http://127.0.0.1:${port}/livez`)).status).toBe(200);
    }
    for (const client of [...clients, ...late]) client.close();
    server.close();
  });

  test('keeps connections with a running request', async () => {
    const waiting: (() => void)[] = [];
    const slow = { phase: 'running', status: () => new Promise<object>((resolve) => waiting.push(() => resolve({}))) };
    const server = createAdminServer(slow as typeof view, { maxConnections: 8 });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const asked = Array.from({ length: 4 }, () => ask(`http://127.0.0.1:${port}/status`));
    await until(() => waiting.length === 4);
    for (let probe = 0; probe < 20; probe++) {
      expect((await ask(`http://127.0.0.1:${port}/livez`)).status).toBe(200);
    }
    for (const reply of waiting) reply();
    for (const answer of await Promise.all(asked)) expect(answer.status).toBe(200);
    server.close();
    server.closeAllConnections();
  });
});
