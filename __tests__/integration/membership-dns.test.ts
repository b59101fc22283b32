import { createServer, request, type Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { RoundRobinProxyOptions } from 'expressway';
import { certificate, trustCertificate } from '../support/certificate.ts';
import { DnsServer } from '../support/dns-server.ts';
import { Cleanup, proxyGateway } from '../support/gateway.ts';
import { stays } from '../support/pause.ts';
import { RecorderBackend } from '../support/recorder-backend.ts';
import { eventually } from '../support/servers.ts';
import { expectWarnings } from '../support/warnings.ts';

expectWarnings('WARN_EXPRESSWAY_WEIGHTS');

const cleanup = new Cleanup();
let dns: DnsServer;

beforeEach(async () => {
  dns = cleanup.add(await DnsServer.start());
});
afterEach(() => cleanup.run());

async function gateway(backends: RoundRobinProxyOptions['backends'], options: Partial<RoundRobinProxyOptions> = {}) {
  const running = cleanup.add(await proxyGateway({ backends, dns: { servers: [dns.address] }, ...options }));
  const said: string[] = [];
  const { events } = running.proxy;
  events.on('backendsChanged', ({ added, removed }) => said.push(`+${added.length} -${removed.length}`));
  events.on('discoveryFailed', ({ name, error }) => said.push(`failed ${name}: ${error.message}`));
  events.on('discoveryRecovered', ({ name, removed }) => said.push(`${removed ? 'removed' : 'recovered'} ${name}`));
  return { ...running, said };
}

/** Servers on one port of several loopback addresses; each answers with its address and the `Host` that it saw. */
async function listenOn(addresses: readonly string[], make: () => Server = () => createServer()) {
  let port = 0;
  for (const address of addresses) {
    const server = make();
    server.on('request', (req, res) => res.end(`${address} as ${req.headers.host}`));
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(port, address, resolve);
    });
    port = (server.address() as AddressInfo).port;
    cleanup.add({
      close: () =>
        new Promise((resolve) => {
          server.close(resolve);
          server.closeAllConnections();
        }),
    });
  }
  return port;
}

/** `Host` may not be chosen with `fetch()`. */
function ask(port: number, host: string): Promise<{ status: number | undefined; text: string }> {
  return new Promise((resolve, reject) => {
    const req = request({ port, host: '127.0.0.1', agent: false, headers: { host } }, (res) => {
      let text = '';
      res.on('data', (chunk) => {
        text += chunk;
      });
      res.on('end', () => resolve({ status: res.statusCode, text }));
    });
    req.on('error', reject).end();
  });
}

async function addressesSeen(url: string, requests: number): Promise<string[]> {
  const seen = new Set<string>();
  for (let i = 0; i < requests; i += 1) seen.add((await (await fetch(url)).text()).split(' ')[0] as string);
  return [...seen].sort();
}

describe('dns://', () => {
  test('F10: every address is a backend, and DNS changes are applied within the TTL', async () => {
    const port = await listenOn(['127.0.0.1', '127.0.0.2', '127.0.0.3']);
    dns.records.set('api.test', { a: ['127.0.0.1', '127.0.0.2'], ttl: 1 });
    const { url, proxy, said } = await gateway([`dns://api.test:${port}`]);
    await proxy.ready();
    expect(await addressesSeen(url, 4)).toEqual(['127.0.0.1', '127.0.0.2']);
    dns.records.set('api.test', { a: ['127.0.0.3', '127.0.0.2'], ttl: 1 });
    const wanted = [`http://127.0.0.2:${port}`, `http://127.0.0.3:${port}`];
    await eventually('the change is seen', () => String(proxy.status().map((one) => one.backend)) === String(wanted));
    expect(await addressesSeen(url, 4)).toEqual(['127.0.0.2', '127.0.0.3']);
    dns.records.set('api.test', 'fail');
    await eventually('the failure is told', () => said.some((one) => one.startsWith('failed')));
    expect(await addressesSeen(url, 4)).toEqual(['127.0.0.2', '127.0.0.3']);
    dns.records.set('api.test', { a: ['127.0.0.3'], ttl: 60 });
    await eventually('it works again', () => proxy.status().length === 1);
    expect(said).toEqual([
      '+2 -0',
      '+1 -1',
      `failed dns://api.test:${port}: queryA ESERVFAIL api.test`,
      `recovered dns://api.test:${port}`,
      '+0 -1',
    ]);
  });

  test.each(['leaves the list', 'is of a proxy that closes'])(
    'a name whose lookup fails and that %s no longer fails',
    async (end) => {
      dns.records.set('gone.test', 'fail');
      const { proxy, said } = await gateway(['http://127.0.0.1:1', 'dns://gone.test:80']);
      await proxy.ready();
      if (end === 'leaves the list') proxy.setBackends(['http://127.0.0.1:1']);
      else await proxy.close();
      expect(said).toEqual(['failed dns://gone.test:80: queryA ESERVFAIL gone.test', 'removed dns://gone.test:80']);
    },
  );

  test('IPv6 addresses are backends too', async () => {
    const port = await listenOn(['::1']);
    dns.records.set('api.test', { aaaa: ['::1'] });
    const { url, proxy } = await gateway([`dns://api.test:${port}`]);
    await proxy.ready();
    expect(await addressesSeen(url, 1)).toEqual(['::1']);
  });

  test('F10: an unknown name is not fatal: 503 until the first DNS response', async () => {
    const port = await listenOn(['127.0.0.1']);
    const { url, proxy, said } = await gateway([`dns://api.test:${port}`]);
    await proxy.ready();
    const response = await fetch(url);
    expect([response.status, response.headers.get('retry-after')]).toEqual([503, '1']);
    expect(await response.json()).toMatchObject({ cause: 'no_backend' });
    dns.records.set('api.test', { a: ['127.0.0.1'] });
    await eventually('it is found', async () => (await fetch(url)).status === 200);
    expect(said).toEqual([
      `failed dns://api.test:${port}: no address of api.test found`,
      `recovered dns://api.test:${port}`,
      '+1 -0',
    ]);
  });

  test('the backend sees the Host of the client; with changeOrigin the name, not the address', async () => {
    const port = await listenOn(['127.0.0.1']);
    dns.records.set('api.test', { a: ['127.0.0.1'] });
    const plain = await gateway([`dns://api.test:${port}`]);
    await plain.proxy.ready();
    expect((await ask(plain.port, 'shop.example')).text).toBe('127.0.0.1 as shop.example');
    const changed = await gateway([`dns://api.test:${port}`], { changeOrigin: true });
    await changed.proxy.ready();
    expect((await ask(changed.port, 'shop.example')).text).toBe(`127.0.0.1 as api.test:${port}`);
  });

  test('plain backends in the same list serve at once', async () => {
    const plain = cleanup.add(await RecorderBackend.start());
    const port = await listenOn(['127.0.0.1']);
    dns.records.set('api.test', { a: ['127.0.0.1'] });
    dns.records.set('mute.test', 'silent');
    const list = [`dns://mute.test:${port}`, `dns://api.test:${port}`, plain.url];
    const { url, proxy } = await gateway(list);
    expect(await (await fetch(url)).text()).toBe('ok');
    await eventually('the name is found', () => proxy.status().length === 2);
    for (let i = 0; i < 4; i += 1) await (await fetch(url)).text();
    expect(plain.requests).toHaveLength(3);
  });
});

describe('srv://', () => {
  test('takes port and weight from the records', async () => {
    const ports = [await listenOn(['127.0.0.1']), await listenOn(['127.0.0.1'])] as const;
    dns.records.set('one.test', { a: ['127.0.0.1'] });
    const records = ports.map((port, index) => ({ target: 'one.test', port, weight: 10 + index * 20 }));
    dns.records.set('_http._tcp.api.test', { srv: [...records, { target: 'spare.test', port: 1, priority: 9 }] });
    const { url, proxy } = await gateway(['srv://_http._tcp.api.test']);
    await proxy.ready();
    expect(proxy.status().map(({ backend, weight }) => [backend, weight])).toEqual([
      [`http://127.0.0.1:${ports[0]}`, 1],
      [`http://127.0.0.1:${ports[1]}`, 3],
    ]);
    expect((await fetch(url)).status).toBe(200);
  });
});

describe('setBackends()', () => {
  test('with a new name: the current backends serve until the lookup ends', async () => {
    const old = cleanup.add(await RecorderBackend.start());
    const port = await listenOn(['127.0.0.1']);
    dns.records.set('api.test', { a: ['127.0.0.1'] });
    const { url, proxy, said } = await gateway([old.url]);
    proxy.setBackends([`dns://api.test:${port}`]);
    expect(await (await fetch(url)).text()).toMatch(/ok|127/);
    await proxy.ready();
    expect(await addressesSeen(url, 2)).toEqual(['127.0.0.1']);
    expect(said).toEqual(['+1 -1']);
  });

  test('with a new name among others: the whole list waits for the lookup, so that no backend gets all requests', async () => {
    const old = cleanup.add(await RecorderBackend.start());
    const other = cleanup.add(await RecorderBackend.start());
    dns.records.set('mute.test', 'silent');
    const { url, proxy } = await gateway([old.url], { dns: { servers: [dns.address], timeoutMs: 60_000 } });
    proxy.setBackends(['dns://mute.test:80', other.url]);
    await eventually('it is looked up', () => dns.questions.some((question) => question.endsWith('mute.test')));
    for (let i = 0; i < 4; i += 1) expect((await fetch(url)).status).toBe(200);
    expect([old.requests.length, other.requests.length]).toEqual([4, 0]);
    dns.records.set('mute.test', 'fail');
    dns.answerLate();
    await proxy.ready();
    for (let i = 0; i < 4; i += 1) expect((await fetch(url)).status).toBe(200);
    expect([old.requests.length, other.requests.length]).toEqual([4, 4]);
  });

  test('with only an unknown name: the current backends serve until it is found', async () => {
    const old = cleanup.add(await RecorderBackend.start());
    const port = await listenOn(['127.0.0.1']);
    const { url, proxy } = await gateway([old.url]);
    proxy.setBackends([`dns://api.test:${port}`]);
    await proxy.ready();
    expect(await (await fetch(url)).text()).toBe('ok');
    dns.records.set('api.test', { a: ['127.0.0.1'] });
    await eventually('it is found', async () => (await (await fetch(url)).text()) !== 'ok');
    expect(proxy.status().map(({ backend }) => backend)).toEqual([`http://127.0.0.1:${port}`]);
  });

  test('with only an unknown name: the names of the current list are followed until it is found', async () => {
    const port = await listenOn(['127.0.0.1', '127.0.0.2', '127.0.0.3']);
    dns.records.set('old.test', { a: ['127.0.0.1'], ttl: 1 });
    const { proxy } = await gateway([`dns://old.test:${port}`]);
    await proxy.ready();
    const inUse = () =>
      proxy
        .status()
        .map(({ backend }) => new URL(backend).hostname)
        .join(' ');
    expect(inUse()).toBe('127.0.0.1');
    proxy.setBackends([`dns://new.test:${port}`]);
    await proxy.ready();
    dns.records.set('old.test', { a: ['127.0.0.2'], ttl: 1 });
    await eventually('the old name is followed', () => inUse() === '127.0.0.2');
    dns.records.set('new.test', { a: ['127.0.0.3'] });
    await eventually('the new name is in use', () => inUse() === '127.0.0.3');
    const olds = () => dns.questions.filter((question) => question.endsWith('old.test')).length;
    const asked = olds();
    await stays('the old name is no longer followed', () => olds() === asked, 1_100);
  });

  test('a change from a name to one of its addresses keeps that backend', async () => {
    const only = cleanup.add(await RecorderBackend.start());
    dns.records.set('api.test', { a: ['127.0.0.1'] });
    const { url, proxy, said } = await gateway([`dns://api.test:${only.port}`]);
    await proxy.ready();
    await (await fetch(url)).text();
    proxy.setBackends([only.url]);
    await (await fetch(url)).text();
    expect(said).toEqual(['+1 -0']);
    expect(only.received).toHaveLength(1);
    const asked = dns.questions.length;
    await stays('the name is not looked up', () => dns.questions.length === asked, 50);
  });
});

describe('TLS and DNS names', () => {
  const secure = () => createTlsServer(certificate) as unknown as Server;

  test('F10: the certificate is checked for the name, not for the address and not for the Host of a client', async () => {
    cleanup.add(trustCertificate());
    const port = await listenOn(['127.0.0.2'], secure);
    dns.records.set('api.test', { a: ['127.0.0.2'] });
    dns.records.set('other.test', { a: ['127.0.0.2'] });
    const right = await gateway([`dns+https://api.test:${port}`]);
    await right.proxy.ready();
    expect(await ask(right.port, 'other.test')).toEqual({ status: 200, text: '127.0.0.2 as other.test' });
    const wrong = await gateway([`dns+https://other.test:${port}`]);
    await wrong.proxy.ready();
    const refused = await ask(wrong.port, 'api.test');
    expect([refused.status, JSON.parse(refused.text).cause]).toEqual([502, 'tls_certificate_error']);
  });

  test('an address that is found under another name must prove the other name', async () => {
    cleanup.add(trustCertificate());
    const port = await listenOn(['127.0.0.2'], secure);
    for (const name of ['api.test', 'other.test']) dns.records.set(name, { a: ['127.0.0.2'] });
    const { port: entry, proxy, said } = await gateway([`dns+https://api.test:${port}`]);
    await proxy.ready();
    expect((await ask(entry, 'a')).status).toBe(200);
    proxy.setBackends([`dns+https://other.test:${port}`]);
    await proxy.ready();
    expect((await ask(entry, 'a')).status).toBe(502);
    proxy.setBackends([`dns+https://api.test:${port}`]);
    await proxy.ready();
    expect((await ask(entry, 'a')).status).toBe(200);
    expect(said).toEqual(['+1 -0', '+1 -1', '+1 -1']);
  });

  test.each(['localhost', '127.0.0.1'])(
    'https://%s: the client cannot choose the name that is checked',
    async (name) => {
      cleanup.add(trustCertificate());
      const port = await listenOn(['127.0.0.1'], secure);
      const { port: entry, proxy } = await gateway([`https://${name}:${port}`]);
      let connections = 0;
      proxy.events.on('attemptFailed', () => {
        connections += 1;
      });
      for (const host of ['shop.example', 'api.test', '[::1]', 'localhost']) {
        expect(await ask(entry, host)).toEqual({ status: 200, text: `127.0.0.1 as ${host}` });
      }
      expect(connections).toBe(0);
    },
  );

  test('https: requests for different hosts share connections', async () => {
    cleanup.add(trustCertificate());
    let connections = 0;
    const port = await listenOn(['127.0.0.1'], () => secure().on('secureConnection', () => connections++));
    const { port: entry } = await gateway([`https://localhost:${port}`]);
    for (const host of ['a.example', 'b.example', 'c.example']) expect((await ask(entry, host)).status).toBe(200);
    expect(connections).toBe(1);
  });
});
