import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { ipRateLimit } from '../../lib/rate-limit/ip-rate-limit.ts';
import { certificate } from '../support/certificate.ts';
import { Cleanup } from '../support/gateway.ts';
import { describeWithServers, RedisServer, type RedisServerParts } from '../support/redis.ts';
import { eventually } from '../support/servers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const folder = mkdtempSync(join(tmpdir(), 'expressway-tls-'));
const [cert, key] = [join(folder, 'cert.pem'), join(folder, 'key.pem')];
writeFileSync(cert, certificate.cert);
writeFileSync(key, certificate.key, { mode: 0o600 });
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const parts: RedisServerParts = {
  ca: certificate.cert,
  url: (port) => `rediss://default:s3cret@127.0.0.1:${port}`,
  args: (port) => [
    ...['--port', '0', '--tls-port', `${port}`, '--tls-cert-file', cert, '--tls-key-file', key],
    ...['--tls-ca-cert-file', cert, '--tls-auth-clients', 'no', '--requirepass', 's3cret', '--save', ''],
  ],
};

const port = '--tls-port 0'.split(' ');
/** A Redis without TLS does not know the option, and ends at once; one with it fails at its unusable folder. */
const { stdout } = spawnSync('redis-server', [...port, '--port', '0', '--dir', join(folder, 'none')], {
  encoding: 'utf8',
  timeout: 5_000,
});
const hasTls = stdout === null || !/tls-port'?\s+'?0|Bad directive/.test(stdout);
if (!hasTls)
  process.stderr.write('\n*** SKIPPED, tests of Redis over TLS: this redis-server was built without it ***\n\n');

describeWithServers('a Redis over TLS', () => {
  const group = hasTls || process.env.CI === 'true' ? describe : describe.skip;
  group('with a certificate of its own authority', () => {
    const redis = new RedisServer(parts);
    beforeAll(() => redis.start());
    afterAll(() => redis.kill());

    test('is trusted with the authority of ssl_ca_certs', async () => {
      const url = `${redis.url}?ssl_ca_certs=${encodeURIComponent(cert)}`;
      const limiter = cleanup.add(ipRateLimit({ redis: url, onStoreError: 'closed', storeTimeoutMs: 10_000 }));
      await eventually('the counts are shared', async () => {
        const keys = (await redis.command('KEYS', '*gateways*')) as string[];
        return limiter.mode === 'redis' && keys.length === 1;
      });
    });

    test('is not trusted without it', async () => {
      const limiter = cleanup.add(ipRateLimit({ redis: redis.url }));
      const errors: string[] = [];
      limiter.events.on('limiterModeChange', ({ error }) => errors.push(String(error?.message)));
      await eventually('it is reported', () => errors.length > 0);
      expect(limiter.mode).toBe('local');
      expect(errors[0]).toMatch(/self-signed certificate/);
    });
  });
});
