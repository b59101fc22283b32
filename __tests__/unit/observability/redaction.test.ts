import { describe, expect, test } from '@jest/globals';
import { SECRET_NAMES } from '../../../lib/core/secret-names.ts';
import { printable, Redaction } from '../../../lib/observability/access-log/redaction.ts';

const redaction = new Redaction(['pin', 'userEmail', '*phone*', 'пароль', '-']);

describe('Redaction', () => {
  test.each([
    ['/a', '/a'],
    ['/a?b=1&c', '/a?b=1&c'],
    ['/a?token=x&b=1', '/a?token=***&b=1'],
    ['/a?b=1&ToKeN=x', '/a?b=1&ToKeN=***'],
    ['/a?%74oken=x', '/a?%74oken=***'],
    ['/a?token[]=x&token[a]=y', '/a?token[]=***&token[a]=***'],
    ['/a?pin=1234', '/a?pin=***'],
    ['/a;jsessionid=x/b?c=1', '/a;jsessionid=***/b?c=1'],
    ['/a?y=1;token=x', '/a?y=1;token=***'],
    ['/a?token=x;y?z/&b=1', '/a?token=***&b=1'],
    ['/a?token=x#token=y', '/a?token=***#token=***'],
    ['/a;sid=x;b=1?token=y', '/a;sid=***;b=1?token=***'],
    ['/a;b=1', '/a;b=1'],
    ['/a?my_token=2', '/a?my_token=***'],
    ['/a?User-Email=x&user[email]=y&email=z', '/a?User-Email=***&user[email]=***&email=z'],
    ['/a?home_phone_number=1', '/a?home_phone_number=***'],
    ['/a?%D0%BF%D0%B0%D1%80%D0%BE%D0%BB%D1%8C=x', '/a?%D0%BF%D0%B0%D1%80%D0%BE%D0%BB%D1%8C=***'],
    ['/a?b[]=1&[]=2', '/a?b[]=1&[]=2'],
    ['/a?next=https://me:pw@b/c&d=1', '/a?next=https://***@b/c&d=1'],
    ['http://me:p@ss@a/', 'http://***@a/'],
    ['/a?%zz%74oken=x', '/a?%zz%74oken=***'],
    ['/a?%zz=1&token=x=y', '/a?%zz=1&token=***'],
    ['/a?=x&token=', '/a?=x&token=***'],
    ['http://user:pass@a/b?c=d', 'http://***@a/b?c=d'],
    ['//user@a/b', '//***@a/b'],
    ['/mail/me@example.org', '/mail/me@example.org'],
    ['https://a/b#access_token=x', 'https://a/b#access_token=***'],
  ])('%s is shown as %s', (given, shown) => {
    expect(redaction.url(given)).toBe(shown);
  });

  test.each([...SECRET_NAMES])('the parameter %s is secret', (name) => {
    expect(redaction.url(`/?${name}=geheim`)).not.toContain('geheim');
  });

  // As applications spell them: OAuth 2, OpenID Connect, SAML, signed URLs, frameworks.
  test.each(
    `access_token accessToken ACCESS-TOKEN refreshToken id_token id_token_hint logout_token csrfToken _csrf_token xsrf-token
    authenticity_token __RequestVerificationToken code code_verifier codeVerifier device_code client_secret clientSecret
    client_assertion assertion SAMLResponse SAMLRequest SAMLart ticket password Password passwd pwd user_password newPassword
    passwordConfirmation user[password] user[password_confirmation] user.password users[0][password] credentials[secret]
    auth[user] X-Amz-Signature X-Amz-Security-Token X-Amz-Credential X-Goog-Signature Signature sig api_key apiKey api-key
    apikey x-api-key key subscription-key AccessKeyId private_key sessionId session_id sessid connect.sid JSESSIONID PHPSESSID
    ASPSESSIONIDQQABCD jwt bearer bearer_token otp totp passcode passphrase verification_code user%5Bpassword%5D user%5bp%61ssword%5d`.split(
      /\s+/,
    ),
  )('%s=… is masked in a query, in a path and in the address of the page before', (name) => {
    for (const text of [`/?a=1&${name}=geheim&b=2`, `/x;${name}=geheim/y`, `https://h/?${name}=geheim`]) {
      expect(redaction.url(text)).toBe(text.replace('geheim', '***'));
    }
  });

  test.each(
    'q id page max_tokens tokens tokenizer keyword monkey country_code zipcode passenger compass author sort_key design state'.split(
      ' ',
    ),
  )('%s=… is shown', (name) => {
    expect(redaction.url(`/?${name}=1`)).toBe(`/?${name}=1`);
  });

  test.each([
    ['pa*ge', 'page pages-age pa-x-ge', 'pag apage pagex'],
    ['*x*y*', 'xy axbyc', 'yx x y'],
    ['aba*ba', 'ababa abaxba', 'aba abab'],
    ['a*b*b', 'abb axbxb', 'ab axb abbx'],
    ['*', 'a id', ''],
  ])('the pattern %s masks %s, and not %s', (pattern, masked, shown) => {
    const own = new Redaction([pattern]);
    const names = (text: string) => text.split(' ').filter(Boolean);
    expect(names(`${masked} ${shown}`).filter((name) => own.isSecret(name))).toEqual(names(masked));
  });

  test.each([
    'X-Auth-Token',
    'x-gitlab-token',
    'cf-access-jwt-assertion',
    'authorization',
    'cookie',
    'x-hub-signature',
  ])('the field %s is secret', (name) => expect(redaction.isSecret(name)).toBe(true));

  test('more names than its cache holds are still decided correctly', () => {
    for (let i = 0; i < 3_000; i += 1) expect(redaction.isSecret(`n${i}`)).toBe(false);
    expect([redaction.isSecret('token'), redaction.isSecret(`${'x'.repeat(100)}token`)]).toEqual([true, true]);
  });
});

test('A13: printable() escapes control characters and line ends, and truncates', () => {
  const every = Array.from({ length: 0x2030 }, (_, code) => String.fromCharCode(code)).join('');
  const shown = printable(every, 10_000);
  expect(shown).not.toMatch(/[\p{Cc}\u2028\u2029]/u);
  expect(shown).toContain('\\u001b');
  expect(printable('é "x" \\', 100)).toBe('é "x" \\');
  expect(printable('x'.repeat(11), 10)).toBe(`${'x'.repeat(10)}...`);
});
