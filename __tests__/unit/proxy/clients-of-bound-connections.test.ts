import { once } from 'node:events';
import { Socket } from 'node:net';
import { expect, test } from '@jest/globals';
import { asksForConnection, BoundConnections } from '../../../lib/proxy/transport/bound-connections.ts';

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

test('a client without a connection has authenticated at no backend, even if others have', async () => {
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

test('a client has one connection to a backend: a second one is retired, unless the first is gone', () => {
  const bound = new BoundConnections<Fake>();
  const client = new Socket();
  const [first, second, third] = [new Fake(), new Fake(), new Fake()];
  for (const connection of [first, second, first]) bound.bind(client, 'a', connection);
  expect([first.retired, second.retired, bound.find(client, 'a')]).toEqual([0, 1, first]);
  first.isDropped = true;
  expect(bound.find(client, 'a')).toBeUndefined();
  bound.bind(client, 'a', third);
  expect([third.retired, bound.find(client, 'a') === third]).toEqual([0, true]);
});

test('the backend that a client authenticated at last is the one that counts', () => {
  const bound = new BoundConnections<Fake>();
  const client = new Socket();
  const first = new Fake();
  bound.bind(client, 'a', first);
  bound.bind(client, 'b', new Fake());
  bound.bind(client, 'a', first);
  expect(bound.backendOf(client)).toBe('a');
});

test.each<[string | string[], boolean]>([
  ['Negotiate', true],
  ['Basic realm="a", ntlm', true],
  ['NTLMv9', false],
  ['Basic realm="NTLM"', false],
  [['Basic realm="a"', 'Negotiate'], true],
  [['Basic realm="a"', 'Digest realm="a"'], false],
])('WWW-Authenticate: %j asks to authenticate the connection: %j', (challenge, expected) => {
  expect(asksForConnection(challenge)).toBe(expected);
});
