import { createServer, type Server } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import { afterEach, expect, test } from '@jest/globals';
import { ask } from '../support/ask.ts';
import { certificate, trustCertificate } from '../support/certificate.ts';
import { Cleanup } from '../support/gateway.ts';
import { Http2Backend } from '../support/http2-backend.ts';
import { closedPort, eventually, listen } from '../support/servers.ts';
import { closeAll, openBackend, openGateway, type TestGateway } from './gateways.ts';

const cleanup = new Cleanup();
afterEach(closeAll);
afterEach(() => cleanup.run());

const statusOf = async ({ adminUrl }: TestGateway) => (await ask(`${adminUrl}/api/status`)).json;
const upIn = async ({ adminUrl }: TestGateway): Promise<readonly string[]> =>
  (await ask(`${adminUrl}/metrics`)).text.split('\n').filter((line) => line.startsWith('expressway_backend_up{'));

/** The texts are those of the last look at the gateway, up to a second ago. */
const withProblem = async (gateway: TestGateway, kind: string, words = '') => {
  let headline: { title: string } | undefined;
  let problem: { problem: string; text: string; nextStep: string } | undefined;
  await eventually(`there is a problem ${kind} ${words}`, async () => {
    const status = await statusOf(gateway);
    headline = status.headline;
    problem = status.problems.find((one: typeof problem) => one?.problem === kind);
    return problem?.text.includes(words);
  });
  return { headline, problem };
};

test('a dead backend stays out, on page and in metrics, when its next request would be a trial', async () => {
  const url = `http://127.0.0.1:${await closedPort()}`;
  const gateway = await openGateway([url], { CIRCUIT_MINIMUM_REQUESTS: '2', CIRCUIT_OPEN_MS: '100' });
  for (let i = 0; i < 3; i += 1) await ask(gateway.url);
  const words = 'its circuit is open, the next request is a trial (connection_refused';
  const { headline } = await withProblem(gateway, 'backends_unavailable', words);
  expect(headline?.title).toMatch(/^Down: no backend takes requests/);
  expect((await statusOf(gateway)).backends).toMatchObject([{ circuit: 'open', retryAfterMs: 0 }]);
  expect(await upIn(gateway)).toEqual([expect.stringMatching(/ 0$/)]);
});

test.each([
  ['the only backend', 'one'],
  ['one of two backends', 'two'],
])('a backend with weight 0 has that in the text: %s', async (_, kind) => {
  const one = await openBackend('one');
  const two = `http://127.0.0.1:${await closedPort()}`;
  const backends = kind === 'two' ? [`${one.url};weight=0`, two] : [`${one.url};weight=0`];
  const gateway = await openGateway(backends, { CIRCUIT_MINIMUM_REQUESTS: '1', CIRCUIT_FAILURE_RATIO: '1' });
  await ask(gateway.url);
  const { problem } = await withProblem(gateway, 'backends_unavailable');
  expect(problem?.text).toContain(`${one.url}: its weight is 0`);
  expect(problem?.text).not.toContain('busy');
  expect(problem?.nextStep).toMatch(kind === 'two' ? /^Start its process/ : /^Give a backend a weight above 0/);
});

const speaking = (server: Server) => listen(() => {}, server);
const secure = (options: object) => speaking(createSecureServer({ ...certificate, ...options }) as unknown as Server);

type Listening = { readonly port: number; close(): unknown };

const MISTAKEN: readonly (readonly [() => Promise<Listening>, string, Readonly<Record<string, string>>, RegExp])[] = [
  [() => Http2Backend.start(() => {}), 'http', {}, /BACKEND_PROTOCOL/],
  [() => speaking(createServer()), 'http', { BACKEND_PROTOCOL: 'http2' }, /BACKEND_PROTOCOL/],
  [() => secure({}), 'http', {}, /https:/],
  [() => secure({ requestCert: true, ca: certificate.cert }), 'https', {}, /BACKEND_CERT/],
];

test('a backend with another protocol, or that wants a certificate, has the variable to change in its problem', async () => {
  cleanup.add(trustCertificate());
  await Promise.all(
    MISTAKEN.map(async ([start, scheme, env, variable]) => {
      const { port } = cleanup.add(await start());
      const gateway = await openGateway([`${scheme}://localhost:${port}`], env);
      for (let i = 0; i < 2; i += 1) await ask(gateway.url);
      const { problem } = await withProblem(gateway, 'backend_errors');
      expect(problem?.nextStep).toMatch(variable);
    }),
  );
});
