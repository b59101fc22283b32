import { afterAll, afterEach, beforeAll, expect, jest, test } from '@jest/globals';
import { listenerCertificate } from '../../lib/cli/doctor/machine.ts';
import { readCertificates } from '../../lib/gateway/config/certificates.ts';
import { readConfig } from '../../lib/gateway/config/config.ts';
import { GATEWAY_PROBLEMS } from '../../lib/gateway/observing/gateway-problems.ts';
import { GatewayState } from '../../lib/gateway/observing/gateway-state.ts';
import { MadeCertificates } from '../support/made-certificate.ts';

const DAY_MS = 86_400_000;
const made = new MadeCertificates();

beforeAll(() => {
  made.make('a', { names: ['DNS:a.test'], days: 90 });
  made.make('long', { names: ['DNS:long.test'], days: 900 });
});
afterEach(() => {
  jest.restoreAllMocks();
});
afterAll(() => made.remove());

// With the clock a year behind, a certificate is not valid yet, and clients refuse it.
test.each([
  ['valid', 0, [], [/^ok certificate for DNS:a\.test, (?:89|90) days left$/, /^ok .*DNS:long\.test, \d+ days left$/]],
  [
    'not valid yet',
    -365,
    ['the certificate for a.test is not valid yet', 'the certificate for long.test is not valid yet'],
    [
      /^fail certificate for DNS:a\.test, valid only from .* on/,
      /^fail certificate for DNS:long\.test, valid only from/,
    ],
  ],
  [
    'expired',
    100,
    ['the certificate for a.test has expired'],
    [/^warn certificate for DNS:a\.test has expired, /, /^ok .*DNS:long\.test, \d+ days left$/],
  ],
])('a certificate that is %s is reported as such', async (_, days, titles, said) => {
  const [a, long] = [made.files('a'), made.files('long')];
  const config = readConfig({ TLS_CERT: `${a.cert},${long.cert}`, TLS_KEY: `${a.key},${long.key}` });
  jest.spyOn(Date, 'now').mockReturnValue(Date.now() + days * DAY_MS);
  const state = new GatewayState();
  state.certificates = readCertificates(config.tls ?? []).facts;
  const kind = GATEWAY_PROBLEMS.find(({ problem }) => problem === 'certificate_expiring');
  expect([...(kind?.find(state) ?? [])].map(({ title }) => title)).toEqual(titles);
  const findings = await listenerCertificate.run({ config, sample: undefined });
  expect(findings.map(({ level, what }) => `${level} ${what}`)).toEqual(said.map((one) => expect.stringMatching(one)));
});
