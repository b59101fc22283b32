import { once } from 'node:events';
import { Socket } from 'node:net';
import { expect, test } from '@jest/globals';
import { BoundConnections } from '../../../lib/proxy/transport/bound-connections.ts';

class Fake {
  isDropped = false;
  retired = 0;
  retire(): void {
    this.retired += 1;
  }
}

test('a connection that is bound to a client that has gone is retired at once, and not kept for it', () => {
  const bound = new BoundConnections<Fake>();
  const connection = new Fake();
  const client = new Socket().destroy();
  bound.bind(client, 'a', connection);
  expect([connection.retired, bound.find(client, 'a')]).toEqual([1, undefined]);
});

test('a client without a connection has authenticated at no backend, whatever others did', async () => {
  const bound = new BoundConnections<Fake>();
  const connection = new Fake();
  const client = new Socket();
  bound.bind(client, 'a', connection);
  bound.bind(client, 'b', new Fake());
  expect([bound.backendOf(client), bound.backendOf(new Socket())]).toEqual(['b', undefined]);
  client.destroy();
  await once(client, 'close');
  expect([connection.retired, bound.backendOf(client)]).toEqual([1, undefined]);
});
