import { type IncomingMessage, request, type Server } from 'node:http';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { StatusSnapshot, StatusWatcher, TrafficHistory } from 'expressway';
import { createAdminServer } from '../../lib/gateway/admin/admin-server.ts';
import { ADMIN, listen } from '../../lib/gateway/listener.ts';
import { createLogger } from '../../lib/gateway/logging/logger.ts';
import { ask } from '../support/ask.ts';
import { standsStill } from '../support/servers.ts';
import { until } from './until.ts';

const BIG = 'x'.repeat(100_000);

/** Counts how often it is asked, and tells its watchers when the test says so. */
class FakeFeed {
  readonly watchers = new Set<StatusWatcher>();
  asked = 0;
  text = '';

  snapshot(): StatusSnapshot {
    this.asked += 1;
    return { problems: [], backends: [], changes: [{ text: this.text }] } as unknown as StatusSnapshot;
  }

  history(): TrafficHistory {
    return { slots: [] } as unknown as TrafficHistory;
  }

  watch(watcher: StatusWatcher): () => void {
    this.watchers.add(watcher);
    watcher.history(this.history());
    watcher.snapshot(this.snapshot());
    return () => this.watchers.delete(watcher);
  }

  noteOperator(): void {}

  tell(): void {
    const snapshot = this.snapshot();
    for (const watcher of this.watchers) watcher.snapshot(snapshot);
  }
}

const control = { operate: () => [], resetLimit: async () => {} };

let feed: FakeFeed;
let server: Server;
let url: string;

beforeEach(async () => {
  feed = new FakeFeed();
  const site = { feed, control, token: undefined, name: 'Expressway', config: () => [], log: createLogger('silent') };
  server = createAdminServer({ phase: 'running', status: () => ({}) }, { site });
  url = await listen(server, ADMIN, { host: '127.0.0.1', port: 0 });
});

afterEach(() => {
  server.close();
  server.closeAllConnections();
});

function view(): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const req = request(`${url}/events`, { agent: false }, resolve);
    req.on('error', reject);
    req.end();
  });
}

/** Reads all that comes. */
function heard(res: IncomingMessage): { text: string } {
  const said = { text: '' };
  res.setEncoding('utf8').on('data', (chunk: string) => {
    said.text += chunk;
  });
  res.on('error', () => {});
  return said;
}

describe('/events', () => {
  test('sends the state at once, then each snapshot, and takes no snapshots without open pages', async () => {
    const res = await view();
    expect(res.headers['content-type']).toBe('text/event-stream');
    const said = heard(res);
    await until(() => /event: history\ndata: .*\n\nevent: state\ndata: .*"phase":"running".*\n\n$/.test(said.text));
    expect(feed.watchers.size).toBe(1);
    feed.text = 'line\nend';
    feed.tell();
    await until(() => said.text.includes('line\\nend'));
    res.destroy();
    await until(() => feed.watchers.size === 0);
  });

  test('shares one snapshot between all open pages, of which it accepts sixteen', async () => {
    const all = await Promise.all(Array.from({ length: 16 }, view));
    for (const res of all) heard(res);
    expect(feed.watchers.size).toBe(1);
    const refused = await ask(`${url}/events`);
    expect(refused).toMatchObject({ status: 503, json: { title: 'Too many open status pages' } });
    expect(refused.headers['retry-after']).toBe('10');
    const before = feed.asked;
    feed.tell();
    expect(feed.asked).toBe(before + 1);
    (all[0] as IncomingMessage).destroy();
    await until(async () => (await view()).statusCode === 200);
    for (const res of all) res.destroy();
  });

  test('bounds the memory for a page that does not read, and sends it the latest state when it reads again', async () => {
    const res = await view();
    res.on('error', () => {});
    res.pause();
    feed.text = BIG;
    for (let i = 0; i < 200; i += 1) {
      feed.tell();
      await new Promise((resolve) => setImmediate(resolve));
    }
    const said = heard(res);
    res.resume();
    await until(() => said.text.length > 0);
    await standsStill('all that was held has come', () => said.text.length);
    // Of 20 MB it got what the sockets and its bound held: not everything.
    expect(said.text.length).toBeLessThan(15_000_000);
    feed.text = 'the latest';
    feed.tell();
    await until(() => said.text.includes('the latest'));
    res.destroy();
  });

  test('accepts GET only', async () => {
    expect(await ask(`${url}/events`, { method: 'POST' })).toMatchObject({ status: 405 });
    expect(await ask(`${url}/events`, { method: 'HEAD' })).toMatchObject({ status: 405 });
  });
});

describe('the files of the status page', () => {
  test('are complete, and are served with their media types', async () => {
    const page = await ask(url);
    expect(page.headers['content-type']).toBe('text/html; charset=utf-8');
    const wanted = [...page.text.matchAll(/(?:href|src)="(\/[^"]+)"/g)].map(([, path]) => path as string);
    expect(wanted).toEqual(expect.arrayContaining(['/base.css', '/main.js', '/icon.svg']));
    const seen = new Set<string>();
    for (const path of wanted) {
      // There are no metrics here.
      if (seen.has(path) || path === '/metrics') continue;
      seen.add(path);
      const { status, headers, text } = await ask(url + path);
      expect([path, status]).toEqual([path, 200]);
      if (!path.endsWith('.js')) continue;
      expect(headers['content-type']).toBe('text/javascript; charset=utf-8');
      expect(text).not.toMatch(/innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(/);
      for (const [, next] of text.matchAll(/from '\.(\/[^']+)'/g)) wanted.push(next as string);
    }
    expect(seen.size).toBeGreaterThan(10);
  });

  test('load nothing from other servers', async () => {
    for (const path of ['/', '/base.css', '/main.js', '/icon.svg']) {
      const { text } = await ask(url + path);
      expect(text.replaceAll('http://www.w3.org/', '')).not.toMatch(/https?:\/\/|url\(/);
    }
  });
});
