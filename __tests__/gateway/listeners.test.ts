import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { request } from 'node:https';
import type { AddressInfo } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { afterEach, describe, expect, test } from '@jest/globals';
import { readConfig } from '../../lib/gateway/config/config.ts';
import type { Gateway } from '../../lib/gateway/gateway.ts';
import { certificate } from '../support/certificate.ts';
import { v2Header } from '../support/proxy-headers.ts';
import { RawClient } from '../support/raw-client.ts';
import { TestClusters } from './clusters.ts';
import { closeAll, openBackend, openGateway } from './gateways.ts';
import { until } from './until.ts';

const clusters = new TestClusters('2');
const REQUEST = 'GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n';
const portOf = (url: string) => Number(new URL(url).port);

afterEach(closeAll);

function tlsFiles() {
  const files = { TLS_CERT: clusters.path('cert.pem'), TLS_KEY: clusters.path('key.pem') };
  writeFileSync(files.TLS_CERT, certificate.cert);
  writeFileSync(files.TLS_KEY, certificate.key);
  return files;
}

/** Node 22 does not read the body of a request that offers another protocol. */
const KEEPS = 'shouldUpgradeCallback' in createServer();

test('a client that offers h2c, as that of Java does with every request, keeps its connection', async () => {
  const backend = await openBackend('one');
  const { url } = await openGateway([backend.url]);
  const client = await RawClient.connect(portOf(url));
  const ends = [];
  for (let count = 0; count < (KEEPS ? 2 : 1); count += 1) {
    client.send('POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 1\r\n\r\na');
    const response = await client.response();
    ends.push([response.status, response.field('connection')]);
  }
  client.close();
  expect(ends).toEqual(KEEPS ? Array(2).fill([200, 'keep-alive']) : [[501, 'close']]);
});

describe('PROXY_PROTOCOL', () => {
  test('names the client for limits and for the backend', async () => {
    const backend = await openBackend('one');
    const { url } = await openGateway([backend.url], { PROXY_PROTOCOL: 'loopback', RATE_LIMIT_MAX: '1' });
    const statuses = [];
    for (const from of ['203.0.113.1', '203.0.113.2', '203.0.113.1']) {
      const client = await RawClient.connect(portOf(url));
      client.send(`PROXY TCP4 ${from} 192.0.2.1 1 2\r\n${REQUEST}`);
      const { status, content } = await client.response();
      statuses.push(status);
      if (status === 200) expect(JSON.parse(content.toString()).headers['x-forwarded-for']).toBe(from);
    }
    expect(statuses).toEqual([200, 200, 429]);
  });

  test('a listed peer without a header loses its connection, another one is served', async () => {
    const backend = await openBackend('one');
    const listed = await openGateway([backend.url], { PROXY_PROTOCOL: '127.0.0.0/8' });
    const client = await RawClient.connect(portOf(listed.url));
    client.send(REQUEST);
    await client.closed();
    expect(client.pending).toHaveLength(0);
    const other = await openGateway([backend.url], { PROXY_PROTOCOL: '192.0.2.1' });
    expect((await fetch(other.url)).status).toBe(200);
  });

  test('works with TLS in each worker', async () => {
    const { cluster } = await clusters.open({ ...tlsFiles(), PROXY_PROTOCOL: '127.0.0.1' });
    for (let at = 0; at < 4; at += 1) {
      const { socket } = await RawClient.connect(portOf(cluster.url));
      socket.removeAllListeners('data');
      socket.write(v2Header({ from: '203.0.113.7', to: '192.0.2.1' }));
      const secured = connectTls({ socket, rejectUnauthorized: false });
      await once(secured, 'secureConnect');
      secured.write(REQUEST);
      let text = '';
      for await (const chunk of secured) text += chunk;
      expect(text).toContain('"x-forwarded-for":"203.0.113.7"');
    }
  });
});

describe('HTTP_REDIRECT_PORT', () => {
  /** What comes back for a request in its own words. */
  async function redirected(gateway: Gateway, head: string) {
    const client = await RawClient.connect(portOf(gateway.redirectUrl ?? ''));
    client.send(`${head}\r\n\r\n`);
    const response = await client.response();
    await client.closed();
    return { status: response.status, location: response.field('location'), response };
  }

  async function open(more: Record<string, string> = {}) {
    const backend = await openBackend('one');
    return openGateway([backend.url], { ...tlsFiles(), HTTP_REDIRECT_PORT: '0', ...more });
  }

  test('sends each request to the same host, path and query over https, with its method', async () => {
    const { gateway, url } = await open();
    const port = portOf(url);
    const go = async (target: string, host: string) =>
      (await redirected(gateway, `POST ${target} HTTP/1.1\r\nHost: ${host}\r\nContent-Length: 5`)).location;
    expect(await go('/a%20b/?x=1&y=//', 'Shop.test:8080')).toBe(`https://Shop.test:${port}/a%20b/?x=1&y=//`);
    expect(await go('//evil.test/', 'shop.test')).toBe(`https://shop.test:${port}//evil.test/`);
    expect(await go('/', '[2001:db8::1]:80')).toBe(`https://[2001:db8::1]:${port}/`);
    expect((await redirected(gateway, 'GET / HTTP/1.1\r\nHost: a.test')).status).toBe(308);
    const response = await fetch(gateway.redirectUrl ?? '', { redirect: 'manual' });
    expect(response.headers.get('strict-transport-security')).toBeNull();
  });

  test.each([
    'GET / HTTP/1.1\r\nHost: a.test@evil.test',
    'GET / HTTP/1.1\r\nHost: a.test/evil',
    'GET / HTTP/1.1\r\nHost: ',
    'GET / HTTP/1.1\r\nHost: a.test\r\nHost: evil.test',
    'GET http://evil.test/ HTTP/1.1\r\nHost: a.test',
    'OPTIONS * HTTP/1.1\r\nHost: a.test',
    'GET / HTTP/1.1',
  ])('%j gets 400', async (head) => {
    const { gateway } = await open();
    expect(await redirected(gateway, head)).toMatchObject({ status: 400, location: undefined });
  });

  test('a client that still sends its body gets no reset, which could overtake the response', async () => {
    const { gateway } = await open();
    const client = await RawClient.connect(portOf(gateway.redirectUrl ?? ''));
    client.send('POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100000\r\n\r\n');
    const response = await client.response();
    expect([response.status, response.field('connection')]).toEqual([308, 'close']);
    for (let sent = 0; sent < 100_000; sent += 10_000) {
      expect(await new Promise((resolve) => client.socket.write('x'.repeat(10_000), resolve))).toBeFalsy();
    }
    client.socket.end();
    await once(client.socket, 'close');
    expect(client.closedBy).toBe('FIN');
  });

  test('HTTP_REDIRECT_TO_PORT is the port that clients know, and 443 is left out', async () => {
    for (const [to, location] of [
      ['443', 'https://a.test/x'],
      ['8443', 'https://a.test:8443/x'],
    ]) {
      const { gateway } = await open({ HTTP_REDIRECT_TO_PORT: to as string });
      expect(await redirected(gateway, 'GET /x HTTP/1.1\r\nHost: a.test:80')).toMatchObject({ location });
    }
  });

  test('its requests are in the access log and in the metrics, as those of a route', async () => {
    const { gateway, adminUrl, logged } = await open({ ACCESS_LOG: 'json' });
    await redirected(gateway, 'GET /old?x=1 HTTP/1.1\r\nHost: a.test');
    await redirected(gateway, 'GET / HTTP/1.1');
    const lines = () => logged.filter(({ route }) => route === 'redirect to https');
    await until(() => lines().length === 2);
    expect(lines()).toEqual([
      expect.objectContaining({ method: 'GET', target: '/old?x=1', status: 308, client: '127.0.0.1' }),
      expect.objectContaining({ target: '/', status: 400 }),
    ]);
    const metrics = await (await fetch(`${adminUrl}/metrics`)).text();
    for (const status of ['3xx', '4xx']) {
      expect(metrics).toContain(
        `expressway_requests_total{route="redirect to https",service="",method="GET",status="${status}",source="gateway"} 1`,
      );
    }
  });

  test('reads the PROXY protocol as the gateway does, and ends with it', async () => {
    const { gateway } = await open({ PROXY_PROTOCOL: 'loopback' });
    const head = 'PROXY TCP4 203.0.113.1 192.0.2.1 1 2\r\nGET / HTTP/1.1\r\nHost: a.test';
    expect(await redirected(gateway, head)).toMatchObject({ status: 308 });
    await gateway.close();
    await expect(RawClient.connect(portOf(gateway.redirectUrl ?? ''))).rejects.toThrow('ECONNREFUSED');
  });

  test('a port that is taken fails the start with the name of the variable', async () => {
    const { url } = await openGateway(['http://127.0.0.1:9']);
    await expect(open({ HTTP_REDIRECT_PORT: new URL(url).port })).rejects.toThrow(/^HTTP_REDIRECT_PORT: .*in use/);
  });
});

test.each([
  ['HTTP_REDIRECT_PORT', 'x', 'must be an integer from 0 to 65535'],
  ['STRICT_TRANSPORT_SECURITY', 'yes', 'must be like max-age=31536000; includeSubDomains'],
  ['STRICT_TRANSPORT_SECURITY', 'max-age=1\r\nX-A: b', 'must be like'],
])('%s=%j is refused beside TLS', (name, value, problem) => {
  expect(() => readConfig({ TLS_CERT: 'a', TLS_KEY: 'b', [name]: value })).toThrow(`${name}: ${problem}`);
});

test('redirect and HSTS are refused without TLS', () => {
  const env = { HTTP_REDIRECT_PORT: '80', STRICT_TRANSPORT_SECURITY: 'max-age=1' };
  expect(() => readConfig(env)).toThrow(
    /^HTTP_REDIRECT_PORT: needs TLS_CERT.*\nSTRICT_TRANSPORT_SECURITY: needs TLS_CERT/,
  );
});

describe('STRICT_TRANSPORT_SECURITY', () => {
  const HSTS = 'max-age=31536000; includeSubDomains';

  async function headerOver(url: string, path: string): Promise<unknown> {
    const req = request(url + path, { ca: certificate.cert, servername: 'localhost', agent: false }).end();
    const [res] = await once(req, 'response');
    res.resume();
    return res.headers['strict-transport-security'];
  }

  test('is in responses of backends and of the gateway itself, and a backend that sends its own keeps it', async () => {
    const own = createServer((req, res) => {
      if (req.url === '/own') res.setHeader('strict-transport-security', 'max-age=5');
      res.end();
    });
    await once(own.listen(0, '127.0.0.1'), 'listening');
    const backend = `http://127.0.0.1:${(own.address() as AddressInfo).port}`;
    const { url } = await openGateway([backend], {
      ...tlsFiles(),
      STRICT_TRANSPORT_SECURITY: HSTS,
      RATE_LIMIT_MAX: '2',
    });
    expect(await headerOver(url, '/')).toBe(HSTS);
    expect(await headerOver(url, '/own')).toBe('max-age=5');
    // 429.
    expect(await headerOver(url, '/')).toBe(HSTS);
    own.close();
    own.closeAllConnections();
  });
});
