import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { authoritiesIn, pairFault } from '../../../lib/core/pem.ts';
import { readBackendTls } from '../../../lib/gateway/config/tls-files.ts';
import { MadeCertificates } from '../../support/made-certificate.ts';

const made = new MadeCertificates();
const file = (name: string) => `${made.folder}/${name}`;
const read = (name: string) => readFileSync(file(name));
const openssl = (...args: readonly string[]) => execFileSync('openssl', args, { cwd: made.folder, stdio: 'ignore' });

beforeAll(() => {
  made.make('one', { names: ['DNS:one.test'] });
  made.make('other', { names: ['DNS:other.test'] });
  openssl('pkcs8', '-topk8', '-in', 'one.key', '-passout', 'pass:right', '-out', 'encrypted.key');
  openssl('ec', '-in', 'one.key', '-aes256', '-passout', 'pass:right', '-out', 'old-encrypted.key');
  openssl('x509', '-in', 'one.pem', '-outform', 'der', '-out', 'one.der');
  openssl('pkey', '-in', 'one.key', '-outform', 'der', '-out', 'key.der');
  openssl('pkcs12', '-export', '-in', 'one.pem', '-inkey', 'one.key', '-passout', 'pass:right', '-out', 'one.p12');
});
afterAll(() => made.remove());

/** The middle of a file is lost. */
const damaged = (name: string) =>
  read(name)
    .toString()
    .replace(/\n.{20}/, '\n');

describe('a pair that TLS cannot use', () => {
  const [one, key] = [() => read('one.pem'), () => read('one.key')];

  test.each<[string, () => Buffer | string, () => Buffer | string, string | undefined, string, string]>([
    ['swapped files', key, one, undefined, 'cert', 'has no certificate in PEM form, but a private key'],
    ['a certificate for a key', one, one, undefined, 'key', 'has no private key in PEM form, but a certificate'],
    [
      'the key of another',
      one,
      () => read('other.key'),
      undefined,
      'pair',
      'the key does not belong to the certificate',
    ],
    ['another file', () => Buffer.from('x\n'), key, undefined, 'cert', 'has no certificate in PEM form'],
    ['an empty key', one, () => Buffer.alloc(0), undefined, 'key', 'has no private key in PEM form'],
    [
      'a path',
      () => '/certs/one.pem',
      key,
      undefined,
      'cert',
      'has no certificate in PEM form: give the text of a PEM file, not its path',
    ],
    [
      'DER',
      () => read('one.der'),
      key,
      undefined,
      'cert',
      'has no certificate in PEM form: convert it with openssl x509 -inform der',
    ],
    [
      'a key in DER',
      one,
      () => read('key.der'),
      undefined,
      'key',
      'has no private key in PEM form: convert it with openssl pkey -inform der',
    ],
    [
      'PKCS #12',
      () => read('one.p12'),
      key,
      undefined,
      'cert',
      'has no certificate in PEM form: it is PKCS #12, convert it with openssl pkcs12 -nokeys',
    ],
    [
      'a key in PKCS #12',
      one,
      () => read('one.p12'),
      undefined,
      'key',
      'has no private key in PEM form: it is PKCS #12, convert it with openssl pkcs12 -nocerts -nodes',
    ],
    [
      'a damaged certificate',
      () => damaged('one.pem'),
      key,
      undefined,
      'cert',
      'has a damaged certificate: copy the whole file again',
    ],
    [
      'half a certificate',
      () => one().subarray(0, 200),
      key,
      undefined,
      'cert',
      'has a damaged certificate: copy the whole file again',
    ],
    [
      'a damaged key',
      one,
      () => damaged('one.key'),
      undefined,
      'key',
      'has a damaged private key: copy the whole file again',
    ],
    [
      'an encrypted key',
      one,
      () => read('encrypted.key'),
      undefined,
      'key',
      'is encrypted: decrypt it with openssl pkey',
    ],
    [
      'an encrypted key of old',
      one,
      () => read('old-encrypted.key'),
      undefined,
      'key',
      'is encrypted: decrypt it with openssl pkey',
    ],
    ['a wrong passphrase', one, () => read('encrypted.key'), 'wrong', 'key', 'has another passphrase'],
  ])('%s', (_what, cert, pemKey, passphrase, part, text) => {
    expect(pairFault({ cert: cert(), key: pemKey(), passphrase })).toEqual({ part, text });
  });

  test('is no pair that it can use', () => {
    expect(pairFault({ cert: one(), key: key() })).toBeUndefined();
    expect(pairFault({ cert: one(), key: read('encrypted.key'), passphrase: 'right' })).toBeUndefined();
    expect(pairFault({ cert: one().toString(), key: key().toString() })).toBeUndefined();
  });
});

test.each<[string, () => Buffer | string, object]>([
  [
    'two',
    () => Buffer.concat([read('one.pem'), read('other.pem')]),
    { certificates: [expect.anything(), expect.anything()] },
  ],
  ['none', () => read('one.key'), { text: 'has no certificate in PEM form, but a private key' }],
  ['DER', () => read('one.der'), { text: expect.stringContaining('openssl x509 -inform der') }],
  [
    'a damaged one behind a good one',
    () => `${read('other.pem')}${damaged('one.pem')}`,
    { text: expect.stringContaining('damaged') },
  ],
  ['half a one', () => read('one.pem').subarray(0, 200), { text: expect.stringContaining('damaged') }],
])('authorities: %s', (_what, pem, found) => {
  expect(authoritiesIn(pem())).toEqual(found);
});

test.each([
  [
    { cert: 'one.pem', key: 'other.key' },
    /^BACKEND_CERT .*one\.pem with BACKEND_KEY .*other\.key: the key does not belong/,
  ],
  [{ cert: 'one.key', key: 'one.pem' }, /^BACKEND_CERT .*one\.key: has no certificate/],
  [{ cert: 'one.pem', key: 'encrypted.key' }, /^BACKEND_KEY .*encrypted\.key: is encrypted/],
  [{ ca: 'one.key' }, /^BACKEND_CA .*one\.key: has no certificate/],
  [{ ca: 'none' }, /^BACKEND_CA .*none: cannot be read: no such file/],
  [{ ca: '.' }, /^BACKEND_CA .*: cannot be read: it is a directory/],
])('files for backends: %j names the variable and the file', (files, message) => {
  const named = { ca: undefined, cert: undefined, key: undefined };
  const paths = Object.fromEntries(Object.entries(files).map(([name, one]) => [name, file(one)]));
  expect(() => readBackendTls({ ...named, ...paths })).toThrow(message);
});
