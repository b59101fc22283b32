import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { connect as connectTls } from 'node:tls';
import { afterEach, describe, expect, test } from '@jest/globals';
import { certificate } from '../support/certificate.ts';
import { v2Header } from '../support/proxy-headers.ts';
import { RawClient } from '../support/raw-client.ts';
import { TestClusters } from './clusters.ts';
import { closeAll, openBackend, openGateway } from './gateways.ts';

const clusters = new TestClusters('2');
const REQUEST = 'GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n';
const portOf = (url: string) => Number(new URL(url).port);

afterEach(closeAll);

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
    const files = { TLS_CERT: clusters.path('cert.pem'), TLS_KEY: clusters.path('key.pem') };
    writeFileSync(files.TLS_CERT, certificate.cert);
    writeFileSync(files.TLS_KEY, certificate.key);
    const { cluster } = await clusters.open({ ...files, PROXY_PROTOCOL: '127.0.0.1' });
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
