import { readFileSync } from 'node:fs';
import { mkdir, readFile, stat } from 'node:fs/promises';
import { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { hostname } from 'node:os';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, beforeEach, expect, jest, test } from '@jest/globals';
import express from 'express';
import { GatewayEvents, prometheusMetrics, roundRobinProxy, serviceRouter, statusFeed } from 'expressway';
import { fail, startBackend } from 'expressway/testing';
import type { Browser, BrowserContextOptions, Locator, Page } from 'playwright-core';
import { exchangeOf } from '../../lib/core/exchange.ts';
import { createAdminServer } from '../../lib/gateway/admin/admin-server.ts';
import type { ShownSetting } from '../../lib/gateway/admin/shown-config.ts';
import { readConfig } from '../../lib/gateway/config/config.ts';
import type { Host, HostedApp } from '../../lib/gateway/hosted-app.ts';
import { createLogger } from '../../lib/gateway/logging/logger.ts';
import { startGateway } from '../../lib/gateway/start-gateway.ts';
import { ask } from '../support/ask.ts';
import { BackendProcess } from '../support/backend-process.ts';
import { complaintsOf, describeInChromium, launchChromium } from '../support/chromium.ts';
import { Cleanup } from '../support/gateway.ts';
import { closedPort, eventually, listen } from '../support/servers.ts';
import { closeAll, openGateway, type TestGateway } from './gateways.ts';

const TOKEN = 'the-token-of-this-test';
const IMAGES = new URL('../../docs/images/', import.meta.url);
const CONTRASTS = readFileSync(new URL('./status-page-contrasts.js', import.meta.url), 'utf8');
/** For a loaded machine: how soon something happens is measured where it matters. */
const PATIENCE_MS = 30_000;

const ENV = {
  ADMIN_TOKEN: TOKEN,
  RATE_LIMIT_MAX: '40',
  TRUST_PROXY: 'loopback',
  CIRCUIT_MINIMUM_REQUESTS: '2',
  CIRCUIT_WINDOW_MS: '10000',
  CIRCUIT_OPEN_MS: '1500',
  CIRCUIT_HALF_OPEN_REQUESTS: '1',
};

/** Asks ten times a second, each time as another client, until it is closed. */
class Traffic {
  readonly #url: string;
  readonly #timer: NodeJS.Timeout;
  readonly #running = new Set<Promise<unknown>>();
  #count = 0;

  constructor(url: string) {
    this.#url = url;
    this.#timer = setInterval(() => this.#ask(), 100);
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await Promise.all(this.#running);
  }

  #ask(): void {
    this.#count += 1;
    const headers = { 'X-Forwarded-For': `198.51.100.${this.#count % 250}` };
    const asking: Promise<unknown> = ask(this.#url, { headers }).then(
      () => {},
      () => {},
    );
    this.#running.add(asking);
    void asking.finally(() => this.#running.delete(asking));
  }
}

describeInChromium('the status page in Chromium', () => {
  let browser: Browser;
  let gateway: TestGateway;
  let backends: BackendProcess[] = [];
  let traffic: Traffic | undefined;
  const opened = new Cleanup();
  let page: Page;
  let complaints: readonly string[] = [];
  /** What Chromium itself says of an answer or of a lost connection that the test wanted. */
  let expected: RegExp | undefined;

  beforeAll(async () => {
    browser = await launchChromium();
    // For all tests: one that kills a backend starts it again.
    backends = await Promise.all(['one', 'two', 'three'].map((name) => BackendProcess.start(name)));
  });

  afterAll(async () => {
    await browser?.close();
    await Promise.all(backends.map((backend) => backend.close()));
  });

  beforeEach(async () => {
    complaints = [];
    expected = undefined;
    gateway = await openGateway(
      backends.map(({ url }) => url),
      ENV,
    );
  });

  afterEach(async () => {
    await page?.context().close();
    await traffic?.close();
    traffic = undefined;
    await opened.run();
    await closeAll();
    expect(complaints.filter((one) => expected?.test(one) !== true)).toEqual([]);
  });

  async function open(options: BrowserContextOptions = {}): Promise<void> {
    const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
    page = await context.newPage();
    page.setDefaultTimeout(PATIENCE_MS);
    complaints = complaintsOf(page);
    await page.goto(gateway.adminUrl);
    await page.locator('#live[data-live="live"]').waitFor();
  }

  const rowOf = (backend: BackendProcess): Locator =>
    page.getByRole('row').filter({ has: page.getByText(`127.0.0.1:${backend.port}`, { exact: true }) });

  const word = (backend: BackendProcess): Promise<string> => rowOf(backend).locator('.word').innerText();

  async function unlock(token = TOKEN): Promise<void> {
    await page.getByLabel('Admin token').fill(token);
    await page.getByRole('button', { name: 'Unlock' }).click();
  }

  async function click(name: string, backend: BackendProcess): Promise<void> {
    await page.getByRole('button', { name: `${name} 127.0.0.1:${backend.port}` }).click();
    await page.getByRole('dialog').getByRole('button', { name }).click();
  }

  const becomes = (backend: BackendProcess, state: RegExp): Promise<void> =>
    eventually(`the row of ${backend.port} says ${state}`, async () => state.test(await word(backend)), PATIENCE_MS);

  test('shows the open circuit of a killed backend, its return, and the client that sends a flood of requests', async () => {
    const [victim] = backends as [BackendProcess];
    await open();
    traffic = new Traffic(gateway.url);
    await becomes(victim, /^Up$/);
    await victim.kill();
    await page
      .locator('#backend-rows tr[data-level="bad"]')
      .filter({ hasText: `:${victim.port}` })
      .waitFor();
    const says = async (id: string, words: RegExp) => words.test(await page.locator(id).innerText());
    // The row may be a snapshot ahead of the headline.
    const out = new RegExp(`^Up, but 127\\.0\\.0\\.1:${victim.port} is out`);
    await eventually('the headline names it', () => says('#verdict-title', out), PATIENCE_MS);
    const reason = /circuit is open.*connection_refused.*Next: Start its process/;
    await eventually('the reason and the next step', () => says('#verdict-reasons', reason), PATIENCE_MS);
    expect(await page.locator('#changes').innerText()).toContain('circuit open');
    expect(await page.locator('#announce').innerText()).toMatch(/circuit|fails/);

    await victim.restart();
    await becomes(victim, /^Up$/);
    await eventually(
      'all is well',
      async () => /^Up: all 3/.test(await page.locator('#verdict-title').innerText()),
      PATIENCE_MS,
    );

    const flood = { headers: { 'X-Forwarded-For': '203.0.113.66' } };
    for (let round = 0; round < 8; round += 1) {
      await Promise.all(Array.from({ length: 10 }, () => ask(gateway.url, flood)));
    }
    await page.getByRole('rowheader', { name: '203.0.113.66' }).waitFor();
    await eventually('the refusals are counted', async () => {
      const cells = await page.getByRole('row').filter({ hasText: '203.0.113.66' }).innerText();
      return Number(/\s(\d+)\s/.exec(cells)?.[1]) >= 30;
    });
  });

  test('drains, isolates and restores a backend by button, but not with a wrong token', async () => {
    const [first] = backends as [BackendProcess];
    await open();
    expected = /status of 401/;
    await unlock('a-wrong-token-of-some-length');
    await page.getByText('Wrong token. The token is not the value of ADMIN_TOKEN.').waitFor();
    expect(await page.getByLabel('Admin token').getAttribute('aria-invalid')).toBe('true');
    expect(await page.getByRole('button', { name: /^Drain/ }).count()).toBe(0);

    await unlock();
    await click('Drain', first);
    await becomes(first, /^Drained$/);
    expect(await page.getByRole('alert').count()).toBe(0);
    const answers = await Promise.all(Array.from({ length: 6 }, () => ask(gateway.url)));
    expect(answers.map(({ text }) => text.trim())).not.toContain('one');
    await click('Restore', first);
    await becomes(first, /^Up$/);
    await click('Isolate', first);
    await becomes(first, /^Isolated$/);
    await click('Restore', first);
    await becomes(first, /^Up$/);
    const operations = gateway.logged.flatMap(({ operation = [] }) => operation);
    expect(operations).toEqual(['drain', 'restore', 'isolate', 'restore']);
    expect(JSON.stringify(gateway.logged)).not.toContain(TOKEN);
    await page.getByRole('button', { name: 'Lock' }).click();
    expect(await page.getByRole('button', { name: /^Drain/ }).count()).toBe(0);
  });

  test('resets the limit of a client by button', async () => {
    await open();
    const client = { headers: { 'X-Forwarded-For': '203.0.113.7' } };
    for (let i = 0; i < 41; i += 1) await ask(gateway.url, client);
    await unlock();
    await page.getByRole('button', { name: 'Reset the limit of 203.0.113.7' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Reset' }).click();
    await page.getByText('No client was limited').waitFor();
    expect((await ask(gateway.url, client)).status).toBe(200);
  });

  test('can be used by keyboard alone, while its content changes', async () => {
    const [first] = backends as [BackendProcess];
    await open();
    traffic = new Traffic(gateway.url);
    const focused = (): Promise<string> =>
      page.evaluate("document.activeElement.getAttribute('aria-label') ?? document.activeElement.id");
    const tabTo = async (wanted: string): Promise<void> => {
      for (let i = 0; i < 40 && (await focused()) !== wanted; i += 1) await page.keyboard.press('Tab');
      expect(await focused()).toBe(wanted);
    };
    await tabTo('token');
    await page.keyboard.type(TOKEN);
    await page.keyboard.press('Enter');
    await page.locator('#unlocked:visible').waitFor();
    await tabTo(`Drain 127.0.0.1:${first.port}`);
    const outline = await page.evaluate('getComputedStyle(document.activeElement).outlineStyle');
    expect(outline).toBe('solid');
    await page.keyboard.press('Enter');
    await page.getByRole('dialog').waitFor();
    await page.keyboard.press('Escape');
    await eventually('closed', async () => (await page.getByRole('dialog').count()) === 0);
    // What has changed in between has not taken the focus away.
    expect(await focused()).toBe(`Drain 127.0.0.1:${first.port}`);
    expect(await word(first)).toBe('Up');
    await page.keyboard.press('Enter');
    await page.getByRole('dialog').waitFor();
    await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    await becomes(first, /^Drain/);
  });

  test('supports dark mode, reduced motion, narrow screens and screen readers', async () => {
    await open({ colorScheme: 'dark', reducedMotion: 'reduce', viewport: { width: 360, height: 740 } });
    const look = await page.evaluate(`({
      backgroundColor: getComputedStyle(document.body).backgroundColor,
      transitionDuration: getComputedStyle(document.querySelector('#verdict')).transitionDuration,
      overflows: document.documentElement.scrollWidth > document.documentElement.clientWidth,
    })`);
    expect(look).toEqual({ backgroundColor: 'rgb(13, 17, 23)', transitionDuration: '0s', overflows: false });
    // A row is a card now, and still a row for those who listen.
    expect(await page.getByRole('table', { name: 'Backends' }).getByRole('row').count()).toBe(4);
    expect(await page.getByRole('columnheader', { name: 'Last error' }).count()).toBe(1);
    for (const name of ['Backends', 'Limited clients', 'Changes', 'Headroom']) {
      expect(await page.getByRole('region', { name, exact: true }).count()).toBe(1);
    }
    expect(await page.getByRole('main').count()).toBe(1);
    expect(await page.getByRole('banner').count()).toBe(1);
    expect(await page.getByRole('img', { name: /^The last \d+ s\. requests/ }).count()).toBe(1);
    expect(await contrasts(page)).toEqual([]);
  });

  test('has the contrast of WCAG AA in light mode', async () => {
    await open();
    await rowOf(backends[0] as BackendProcess).waitFor();
    expect(await contrasts(page)).toEqual([]);
  });

  test('shows markup and control characters from clients as escaped text', async () => {
    const mean = '<img src=x onerror="document.title=1">\u202e\u0007\u2066';
    const req = new IncomingMessage(new Socket());
    const exchange = exchangeOf(req, new ServerResponse(req));
    const events = new GatewayEvents();
    const urls = backends.map(({ url }) => url).join();
    const config = readConfig({ HOST: '127.0.0.1', PORT: '0', ADMIN_PORT: '0', BACKENDS: urls });
    const own = await startGateway(config, { events, log: createLogger('silent') });
    opened.add(own);
    gateway = { ...gateway, adminUrl: own.adminUrl ?? '' };
    await open();
    const error = new Error(mean);
    const outcome = { kind: 'failed', cause: 'connection_refused', error, sent: false, headSent: false } as const;
    const backend = (backends[0] as BackendProcess).url;
    events.emit('attemptFailed', { exchange, service: 'default', backend, outcome, retried: false });
    const client = { exchange, limiter: 'ip', key: mean, limit: 1, retryAfterMs: 1, shadow: false };
    events.emit('limited', client);
    events.emit('discoveryFailed', { service: 'default', name: mean, error, backends: 0, again: false });
    events.emit('circuitStateChange', {
      service: 'default',
      circuit: backend,
      from: 'open',
      to: 'half-open',
      retryAfterMs: 0,
    });
    const halfOpen = page.locator('#changes li').filter({ hasText: 'circuit half-open' });
    expect(await halfOpen.getAttribute('data-level')).toBe('warn');
    await page.getByRole('rowheader', { name: 'onerror' }).waitFor();
    const shown = await page.locator('main').innerText();
    const safe = String.raw`<img src=x onerror="document.title=1">\u202e\u0007\u2066`;
    expect(shown.split(safe).length - 1).toBeGreaterThanOrEqual(5);
    for (const trick of ['\u202e', '\u0007', '\u2066']) expect(shown).not.toContain(trick);
    expect(await page.locator('main img').count()).toBe(0);
    // The page itself marks its title while there is a problem; the script of a client would have set it to 1.
    expect(await page.title()).toMatch(/^(\(!\) )?Expressway on [\w.-]+$/);
  });

  /** A page of two services that share a backend. */
  async function openShared(config: () => ShownSetting[] = () => []) {
    const events = new GatewayEvents();
    const [{ url }] = backends as [BackendProcess];
    const proxies = ['orders', 'stock'].map((name) => opened.add(roundRobinProxy({ name, backends: [url], events })));
    const metrics = opened.add(prometheusMetrics({ register: { registerMetric() {} }, events, proxies }));
    const feed = opened.add(statusFeed({ events, metrics, proxies }));
    const control = { operate: () => [], resetLimit: async () => {} };
    const site = { feed, control, token: undefined, name: 'Expressway', config, log: createLogger('silent') };
    const server = createAdminServer({ phase: 'running', status: () => ({}) }, { site });
    const admin = opened.add(await listen(() => {}, server));
    gateway = { ...gateway, adminUrl: admin.url };
    await open();
    return feed;
  }

  test('shows two rows, with the names of the services, when two services share a backend', async () => {
    const feed = await openShared();
    await page.locator('#backend-rows .service').nth(1).waitFor();
    const names = await page.locator('#backend-rows .service').allInnerTexts();
    expect(names).toEqual(['orders', 'stock']);
    // With another state, rows that were taken for one another would be made anew, and grow in number.
    feed.noteOperator('an operator', 'did something');
    await page.getByText('did something').first().waitFor();
    expect(await page.locator('#backend-rows tr').count()).toBe(2);
  });

  test('shows each change once, also when two services or workers note the same change at the same time', async () => {
    const feed = await openShared();
    const clock = jest.spyOn(Date, 'now').mockReturnValue(Date.now());
    for (let worker = 0; worker < 2; worker += 1) feed.noteOperator('a backend', 'circuit open');
    clock.mockRestore();
    for (const text of ['second state', 'third state']) {
      feed.noteOperator('an operator', text);
      await page.locator('#changes').getByText(text).waitFor();
    }
    // A busy machine may have problems of its own in the list.
    expect(
      await page
        .locator('#changes li')
        .filter({ hasText: /circuit open|second state|third state/ })
        .count(),
    ).toBe(4);
  });

  test('shows the settings after a reload, and says when the gateway does not respond', async () => {
    let value = '40';
    await openShared(() => [{ name: 'RATE_LIMIT_MAX', value, isDefault: false }]);
    const summary = page.locator('#config summary');
    for (const one of ['40', '50']) {
      value = one;
      await summary.click();
      await page.locator('#settings dd', { hasText: one }).waitFor();
      await summary.click();
    }
    expected = /ERR_|api\/config/;
    await page.route('**/api/config', (route) => route.abort());
    await summary.click();
    await page.getByText('The gateway does not respond.').waitFor();
    expect(await page.locator('#settings div').count()).toBe(0);
  });

  test("shows services and routes of a user's own app, finds a route by filter, and names the one in trouble", async () => {
    const [users, shop] = backends as [BackendProcess, BackendProcess];
    const failing = opened.add(await listen((_req, res) => void res.writeHead(500).end()));
    const app = ({ events }: Host): HostedApp => {
      const more = Array.from({ length: 12 }, (_, index) => ({ path: `/more/${index}`, service: 'shop' }));
      const router = serviceRouter({
        services: {
          users: { backends: [users.url] },
          shop: { backends: [shop.url] },
          // Its circuit stays closed, so the route is in trouble, and not the backend.
          failing: { backends: [failing.url], circuit: { minimumRequests: 1_000 } },
        },
        routes: [
          { path: '/users', service: 'users', rateLimit: '1000/1m' },
          { path: '/<b>shop', service: 'shop' },
          { name: 'broken', path: '/broken', service: 'failing' },
          ...more,
        ],
        events,
      });
      return { app: express().use(router), router };
    };
    gateway = await openGateway([users.url], {}, app);
    await open();
    expect(await page.locator('#backend-rows .service').allInnerTexts()).toEqual(['users', 'shop', 'failing']);
    for (let i = 0; i < 30; i += 1) {
      await ask(`${gateway.url}/users/42`);
      await ask(`${gateway.url}/broken`);
    }
    const title = page.locator('#verdict-title');
    const trouble = /^Up, but route broken fails 100 % of its requests/;
    await eventually('the headline names it', async () => trouble.test(await title.innerText()), PATIENCE_MS);
    const rows = page.locator('#route-rows tr');
    // The headline may come before all requests are counted.
    const all = /broken.*\/broken.*failing.*30 \(100 %\)/s;
    await eventually('its row counts all requests', async () => all.test(await rows.first().innerText()), PATIENCE_MS);
    expect(await rows.first().getAttribute('data-level')).toBe('bad');
    await page.locator('#routes').getByLabel('Filter').fill('1000/1m');
    await eventually('one row is left', async () => (await rows.count()) === 1);
    expect(await rows.first().innerText()).toMatch(/\/users.*users.*\d ms.*1000\/1m/s);
    await page.locator('#routes').getByLabel('Filter').fill('<B>');
    await page.getByRole('rowheader', { name: '/<b>shop' }).waitFor();
    expect(await contrasts(page)).toEqual([]);
    await page.setViewportSize({ width: 360, height: 740 });
    expect(await page.evaluate('document.documentElement.scrollWidth > document.documentElement.clientWidth')).toBe(
      false,
    );
  });

  test('says in words what an open circuit, a limit and a fallback mean, and gives errors as a share of the requests', async () => {
    const [, slow] = backends as [BackendProcess, BackendProcess];
    const failing = opened.add(await startBackend({ otherwise: fail(500) }));
    const redis = `redis://127.0.0.1:${await closedPort()}`;
    const app = ({ events }: Host): HostedApp => {
      const router = serviceRouter({
        services: {
          users: { backends: [failing.url], circuit: { minimumRequests: 5, openMs: 60_000 }, retry: { attempts: 0 } },
          shop: { backends: [slow.url], adaptiveConcurrency: { initialLimit: 2, minLimit: 1, maxLimit: 2 } },
        },
        routes: [
          { path: '/users', service: 'users', circuit: { minimumRequests: 5, openMs: 60_000 } },
          { path: '/shop', service: 'shop', rateLimit: '1000/1m' },
        ],
        limiter: { redis },
        events,
      });
      return { app: express().use(router), router };
    };
    gateway = await openGateway([slow.url], { GATEWAY_NAME: 'shop, staging' }, app);
    await open();
    for (let i = 0; i < 6; i += 1) await ask(`${gateway.url}/users`);
    const loads = Array.from({ length: 40 }, () => ask(`${gateway.url}/shop`));
    const backendRow = page.locator('#backend-rows tr').filter({ hasText: new URL(failing.url).host });
    await eventually('the backend says it', async () =>
      /Circuit open.*no requests for \d+ s/s.test(await backendRow.innerText()),
    );
    const routeRow = (name: string) => page.locator('#route-rows tr').filter({ hasText: name });
    await eventually('the route says it', async () =>
      /Circuit open.*no requests for \d+ s.*\(100 %\)/s.test(await routeRow('/users').innerText()),
    );
    await eventually('the limit says it', async () =>
      /1000\/1m\s*fallback: each process counts for itself/.test(await routeRow('/shop').innerText()),
    );
    await Promise.all(loads);
    const limited = page.locator('#backend-rows tr').filter({ hasText: 'adaptive limit of' });
    await limited.waitFor();
    expect(await limited.innerText()).toMatch(/At its limit.*adaptive limit of \d, for \d+ s.*\d of \d/s);
    await eventually(
      'the share of the errors',
      async () => /\d+ \(100 %\)/.test(await backendRow.innerText()),
      PATIENCE_MS,
    );
    expect(await page.title()).toContain('shop, staging on ');
    expect(await page.locator('#gateway-host').innerText()).toBe(`on ${hostname()}`);
    expect(await page.locator('#zone').innerText()).toMatch(/^Times in (?:UTC|[\w/]+, UTC[+\d:\u2212-]*)$/);
    expect(await contrasts(page)).toEqual([]);
  });

  test('lists the settings by their variables, those that are set first, and links to metrics and documentation', async () => {
    await open();
    await page.locator('#config summary').click();
    const first = page.locator('#settings div').first();
    await first.waitFor();
    expect(await first.getAttribute('class')).toBe('changed');
    const names = await page.locator('#settings dt').allInnerTexts();
    expect(names).toContain('RATE_LIMIT_MAX');
    expect(await page.getByRole('link', { name: 'Metrics' }).getAttribute('href')).toBe('/metrics');
    await page.getByRole('link', { name: 'Documentation' }).click();
    await page.getByRole('heading', { name: 'Documentation' }).waitFor();
    await page.getByRole('link', { name: 'Problems', exact: true }).click();
    expect(await page.locator('body').innerText()).toMatch(/^# /);
  });

  test('charts begin with the first data, and cards on a phone have no empty bands', async () => {
    await open({ viewport: { width: 390, height: 844 } });
    await eventually(
      'two slots',
      async () => Number(await page.getAttribute('#chart-traffic', 'data-slots')) >= 2,
      60_000,
    );
    expect(await page.locator('#chart-traffic .axis').innerText()).toMatch(/^\d+ s ago/);
    const points = String(await page.locator('#chart-traffic .plot path.line').first().getAttribute('d'));
    expect(points).toMatch(/^M0\.0 .*L600\.0 /);
    const bands = await page.evaluate(`[...document.querySelectorAll('.cards tbody tr > *')]
      .filter((cell) => cell.getClientRects().length > 0 && cell.innerText.trim() === '')
      .map((cell) => cell.dataset.label)`);
    expect(bands).toEqual([]);
  });

  test('says that the connection is lost when the gateway stops', async () => {
    await open();
    expected = /ERR_/;
    await gateway.gateway.close();
    await page.locator('#live[data-live="lost"]').waitFor();
    expect(await page.locator('#live').innerText()).toContain('Connection to the gateway lost');
  });

  test('draws the pictures of the README', async () => {
    const names = ['light', 'dark'] as const;
    if (process.env.UPDATE_SCREENSHOTS !== undefined) {
      await mkdir(IMAGES, { recursive: true });
      await open({ reducedMotion: 'reduce' });
      traffic = new Traffic(gateway.url);
      const flood = { headers: { 'X-Forwarded-For': '203.0.113.66' } };
      for (let i = 0; i < 60; i += 1) await ask(gateway.url, flood);
      // Enough slots for charts that show something, and an outage in them.
      await eventually(
        'four slots',
        async () => Number(await page.getAttribute('#chart-traffic', 'data-slots')) >= 12,
        150_000,
      );
      await backends[1]?.kill();
      await eventually(
        'it shows in the charts',
        async () => Number(await page.getAttribute('#chart-traffic', 'data-slots')) >= 14,
        60_000,
      );
      await becomes(backends[1] as BackendProcess, /^Circuit open$/);
      for (const colorScheme of names) {
        await page.emulateMedia({ colorScheme });
        const path = fileURLToPath(new URL(`status-page-${colorScheme}.png`, IMAGES));
        await page.screenshot({ path, clip: { x: 0, y: 0, width: 1280, height: 900 } });
      }
    }
    for (const name of names) {
      const file = new URL(`status-page-${name}.png`, IMAGES);
      expect((await readFile(file)).subarray(1, 4).toString()).toBe('PNG');
      expect((await stat(file)).size).toBeLessThan(150_000);
    }
  }, 180_000);
});

/** Texts whose contrast with what is behind them is below 4.5 to 1 (WCAG 2.2, 1.4.3). */
function contrasts(page: Page): Promise<string[]> {
  return page.evaluate(CONTRASTS);
}
