import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { certificate } from '../support/certificate.ts';
import { Cleanup } from '../support/gateway.ts';
import { Http2Client } from '../support/http2.ts';
import { Http2Backend, respondWithTrailers } from '../support/http2-backend.ts';
import { eventually } from '../support/servers.ts';
import { closeAll, openBackend, openGateway, type TestGateway } from './gateways.ts';

const CHECK = '/grpc.health.v1.Health/Check';
const SERVING = Buffer.from([0, 0, 0, 0, 2, 8, 1]);
const CALL = { ':method': 'POST', ':path': '/test.Test/Say', 'content-type': 'application/grpc', te: 'trailers' };

const cleanup = new Cleanup();
let folder: string;
let tls: { TLS_CERT: string; TLS_KEY: string };

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'expressway-grpc-'));
  tls = { TLS_CERT: join(folder, 'cert.pem'), TLS_KEY: join(folder, 'key.pem') };
  writeFileSync(tls.TLS_CERT, certificate.cert);
  writeFileSync(tls.TLS_KEY, certificate.key);
});

afterEach(async () => {
  await cleanup.run();
  await closeAll();
  rmSync(folder, { recursive: true });
});

const backend = async () =>
  cleanup.add(
    await Http2Backend.start((stream, { ':path': path }) =>
      respondWithTrailers(stream, path === CHECK ? SERVING : 'said', path === '/test.Test/Fail' ? '14' : '0'),
    ),
  );

const clientOf = ({ url }: TestGateway) => cleanup.add(new Http2Client(Number(new URL(url).port)));

test('BACKEND_PROTOCOL=http2: calls reach the backends, health checks of gRPC pass, and UNAVAILABLE opens a circuit', async () => {
  const { url } = await backend();
  const env = {
    ...tls,
    BACKEND_PROTOCOL: 'http2',
    HEALTH_CHECK_PATH: CHECK,
    CIRCUIT_MINIMUM_REQUESTS: '3',
    ACCESS_LOG: 'json',
  };
  const opened = await openGateway([url], env);
  const client = clientOf(opened);
  const { content, trailers } = await client.request(CALL, 'x');
  expect([String(content), trailers?.['grpc-status']]).toEqual(['said', '0']);
  await eventually('the backend is healthy', () => opened.logged.some(({ msg }) => msg === 'backend healthy'));
  for (let i = 0; i < 6; i += 1) await client.request({ ...CALL, ':path': '/test.Test/Fail' }, 'x');
  expect((await client.request(CALL, 'x')).headers['grpc-status']).toBe('14');
  await eventually('it is logged', () => opened.logged.some(({ msg }) => msg === 'circuit open'));
  // The status of HTTP is 200 there, so only that of gRPC says what failed.
  const calls = () => opened.logged.filter(({ source }) => source === 'backend');
  await eventually('the calls are logged', () => calls().length >= 3);
  expect(calls().map(({ status, grpcStatus }) => [status, grpcStatus])).toEqual([
    [200, 0],
    [200, 14],
    [200, 14],
  ]);
  const problem = () => opened.logged.find((line) => line.problem === 'backend_errors');
  await eventually('the problem is logged', () => problem() !== undefined);
  expect(problem()?.msg).toMatch(/ responded with grpc-status 14 to 2 of /);
});

test('a service with protocol: http2 stands beside one over HTTP/1.1', async () => {
  const [grpc, web] = [await backend(), await openBackend('web')];
  const file = join(folder, 'gateway.yaml');
  writeFileSync(
    file,
    `services:
  greeter: { backends: ['${grpc.url}'], protocol: http2 }
  web: { backends: ['${web.url}'] }
routes:
  - { path: /test.Test, service: greeter, stream: true }
  - { path: /, service: web }
`,
  );
  const client = clientOf(await openGateway([], { ...tls, BACKENDS: '', GATEWAY_CONFIG: file }));
  expect(String((await client.request(CALL, 'x')).content)).toBe('said');
  expect((await client.request({ ':path': '/' })).status).toBe(200);
});
