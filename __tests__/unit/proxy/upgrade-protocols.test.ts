import { EventEmitter } from 'node:events';
import { IncomingMessage } from 'node:http';
import { Socket } from 'node:net';
import { describe, expect, test } from '@jest/globals';
import { OptionsError, upgradeHandler } from 'expressway';

const app = () => {};

function asks(upgrade: string | undefined, method = 'GET', headers: Record<string, string> = {}, version = '1.1') {
  const req = new IncomingMessage(new Socket());
  Object.assign(req, { method, url: '/', httpVersion: version });
  Object.assign(req.headers, { ...(upgrade === undefined ? {} : { upgrade }), ...headers });
  return req;
}

describe('upgradeHandler()', () => {
  test.each(['h2', 'h2c', 'h3', 'http', 'https', 'tls', 'http/1.1', 'tls/1.3', 'h2c/1'])(
    'never allows %s, which carries requests',
    (name) => {
      expect(() => upgradeHandler(app, { upgrades: ['websocket', name] })).toThrow(OptionsError);
      expect(() => upgradeHandler(app, { upgrades: [name] })).toThrow('would carry requests that bypass every rule');
    },
  );

  test.each(['websocket', 'h2x', 'httpx', 'xhttp', 'irc/6.9', 'derp'])('may allow %s', (name) => {
    expect(upgradeHandler(app, { upgrades: [name] }).accepts(asks(name))).toBe(true);
  });

  test.each<unknown>(['', 'WebSocket', 'a b', 'a/', '/1', 'a/1/2', 5, null])(
    'takes %j for no protocol name',
    (name) => {
      expect(() => upgradeHandler(app, { upgrades: [name as string] })).toThrow('is not a protocol name in lower case');
    },
  );

  test.each<[string, IncomingMessage, boolean]>([
    ['WebSocket', asks('WebSocket'), true],
    ['a list', asks('foo, websocket'), true],
    ['no upgrade', asks(undefined), false],
    ['another protocol', asks('foo'), false],
    ['a WebSocket by POST', asks('websocket', 'POST'), false],
    ['an allowed protocol by POST', asks('derp', 'POST'), true],
    ['HTTP/1.0', asks('websocket', 'GET', {}, '1.0'), false],
    ['a body', asks('websocket', 'GET', { 'content-length': '1' }), false],
    ['an empty body', asks('websocket', 'GET', { 'content-length': '0' }), true],
    ['a body in chunks', asks('websocket', 'GET', { 'transfer-encoding': 'chunked' }), false],
  ])('accepts() a request with %s: %p', (_name, req, accepted) => {
    expect(upgradeHandler(app, { upgrades: ['websocket', 'derp'] }).accepts(req)).toBe(accepted);
  });

  test.each([
    [0, '/ws', true],
    [1, '/other', false],
    [2, '/other', true],
  ])('beside %i upgrade listeners accepts() an upgrade for %s: %p', (listeners, url, accepted) => {
    const server = new EventEmitter();
    for (let i = 0; i < listeners; i += 1) server.on('upgrade', () => {});
    const req = Object.assign(asks('websocket'), { url });
    Object.assign(req.socket, { server });
    expect(upgradeHandler(app, { path: '/ws' }).accepts(req)).toBe(accepted);
  });
});
