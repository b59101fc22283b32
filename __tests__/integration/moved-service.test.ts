import { afterAll, beforeAll, expect, test } from '@jest/globals';
import express from 'express';
import type { Browser } from 'playwright-core';
import { serviceRouter } from '../../lib/index.ts';
import { complaintsOf, describeInChromium, launchChromium } from '../support/chromium.ts';
import { listen, type RunningServer } from '../support/servers.ts';

/** A shop that was written for the root of its own host: absolute redirects, and cookies for `/`. */
function shop(): express.Express {
  const app = express();
  app.use(express.urlencoded({ extended: false }));
  const nameOf = (req: express.Request) => /(?:^|; )name=(\w+)/.exec(req.headers.cookie ?? '')?.[1];
  app.get('/', (req, res) => {
    if (nameOf(req) === undefined) res.redirect(`http://${req.headers.host}/login`);
    else res.redirect('/account');
  });
  app.get('/login', (_req, res) => {
    res.send(
      '<title>Log in</title><link rel="icon" href="data:,"><form method="post" action="login"><input name="name"><button>Log in</button></form>',
    );
  });
  app.post('/login', (req, res) => {
    res.cookie('name', (req.body as { name: string }).name, { path: '/', httpOnly: true });
    res.redirect(303, '/account');
  });
  app.get('/account', (req, res) => {
    res.send(
      `<title>Account</title><link rel="icon" href="data:,"><h1>Hello ${nameOf(req) ?? 'stranger'}</h1><script src="app.js"></script><a href="logout">Log out</a>`,
    );
  });
  app.get('/app.js', (_req, res) => res.type('js').send('document.body.dataset.ready = "yes";'));
  app.get('/logout', (_req, res) => {
    res.clearCookie('name', { path: '/' });
    res.redirect('/');
  });
  return app;
}

describeInChromium('a web front end behind a path prefix', () => {
  const open: { close(): Promise<void> }[] = [];
  let browser: Browser;
  let gateway: RunningServer;

  beforeAll(async () => {
    browser = await launchChromium();
    const [front, other] = [await listen(shop()), await listen((_req, res) => res.end('another service'))];
    const router = serviceRouter({
      services: { shop: { backends: [front.url] }, other: { backends: [other.url] } },
      routes: [
        { path: '/shop', service: 'shop', rewrite: { prefix: '/' } },
        { path: '/', service: 'other' },
      ],
    });
    gateway = await listen(express().use(router));
    open.push(front, other, router, gateway);
  });

  afterAll(async () => {
    await browser?.close();
    for (const one of open.reverse()) await one.close();
  });

  test('a user logs in, stays logged in and logs out: redirects, cookies, forms and scripts work', async () => {
    const context = await browser.newContext();
    const page = await context.newPage();
    const complaints = complaintsOf(page);
    await page.goto(`${gateway.url}/shop/`);
    expect([page.url(), await page.title()]).toEqual([`${gateway.url}/shop/login`, 'Log in']);
    await page.fill('input', 'alice');
    await page.click('button');
    await page.waitForURL(`${gateway.url}/shop/account`);
    expect(await page.textContent('h1')).toBe('Hello alice');
    await page.waitForSelector('body[data-ready=yes]');
    const [cookie] = await context.cookies();
    expect(cookie).toMatchObject({ name: 'name', value: 'alice', path: '/shop' });

    await page.goto(`${gateway.url}/shop`);
    expect([page.url(), await page.textContent('h1')]).toEqual([`${gateway.url}/shop/account`, 'Hello alice']);

    await page.click('a');
    await page.waitForURL(`${gateway.url}/shop/login`);
    expect(await context.cookies()).toEqual([]);
    expect(complaints).toEqual([]);
    await context.close();
  });
});
