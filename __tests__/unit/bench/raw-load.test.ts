import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { BackendConnection } from '../../../bench/backends/backend-connection.ts';
import type { Placement } from '../../../bench/harness/placement.ts';
import { Processes } from '../../../bench/harness/processes.ts';
import { RawLoad } from '../../../bench/load/raw-load.ts';
import { standsStill } from '../../support/servers.ts';

const UNPINNED: Placement = { gateway: undefined, load: undefined, loadCpuCount: 1, description: 'not pinned' };
const CONNECTIONS = 4;
const nothing = async () => {};

describe('RawLoad', () => {
  const sockets: Socket[] = [];
  let server: Server;
  let load: RawLoad;
  /** What becomes of a connection, by the order in which they come. */
  let serve: (socket: Socket, index: number) => void;

  beforeEach(async () => {
    server = createServer((socket) => {
      sockets.push(socket);
      socket.on('error', () => socket.destroy());
      serve(socket, sockets.length - 1);
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    load = await RawLoad.start(new Processes(), UNPINNED);
  });

  afterEach(async () => {
    await load.stop();
    for (const socket of sockets.splice(0)) socket.destroy();
    server.close();
    await once(server, 'close');
  });

  const plan = () => ({
    port: (server.address() as AddressInfo).port,
    connections: CONNECTIONS,
    warmupSeconds: 0.1,
    seconds: 0.3,
  });
  const answer = (socket: Socket) => void new BackendConnection(socket, () => {});

  test('measures once every connection was served: to wait to be accepted is not to hang', async () => {
    serve = (socket, index) => void setTimeout(() => answer(socket), index === 0 ? 1_000 : 0);
    const { requests, errors, firstError } = await load.measure(plan(), nothing, nothing);
    expect({ errors, firstError }).toEqual({ errors: 0, firstError: undefined });
    expect(requests).toBeGreaterThan(CONNECTIONS);
  });

  test('counts a connection that hangs later on', async () => {
    serve = (socket) => answer(socket);
    const hang = async () => {
      sockets[0]?.pause();
      await standsStill('what was read before has its response', () => sockets[0]?.bytesWritten ?? 0);
    };
    const { errors, firstError } = await load.measure(plan(), hang, nothing);
    expect(errors).toBe(1);
    expect(firstError).toMatch(/^1 of 4 connections without an answer, 0 of them without any so far$/);
  });
});
