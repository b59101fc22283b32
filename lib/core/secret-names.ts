/**
 * Names of query parameters, path parameters and header fields whose values are secrets. Names are compared in lower case and without
 * anything but letters and digits: `accessToken`, `access-token` and `Access_Token` are one name.
 */
export const SECRET_NAMES: readonly string[] = [
  'accesskey',
  'accesskeyid',
  'accountkey',
  'apikey',
  'auth',
  'authcode',
  'authkey',
  'authorization',
  'authorizationcode',
  'basicauth',
  'clientkey',
  'code',
  'codeverifier',
  'cookie',
  'devicecode',
  'encryptionkey',
  'jwt',
  'key',
  'masterkey',
  'mfacode',
  'otp',
  'otpcode',
  'pass',
  'passcode',
  'privatekey',
  'proxyauthenticate',
  'proxyauthorization',
  'pwd',
  'recoverycode',
  'samlart',
  'samlrequest',
  'samlresponse',
  'sas',
  'session',
  'setcookie',
  'sharedkey',
  'sid',
  'sig',
  'signingkey',
  'subscriptionkey',
  'ticket',
  'totp',
  'usercode',
  'userpass',
  'verificationcode',
  'verifycode',
  'wwwauthenticate',
  'xapikey',
  'xauth',
];

/** Parts that make any name a secret. `max_tokens` and `tokenizer` are no secrets. */
const SECRET_PART =
  /passw(?:or)?d|passphrase|secret|token(?!s$|iz)|credential|signature|assertion|apikey|jwt|sess(?:ion)?id|bearer/;

export const REDACTED = '***';

const SECRETS: ReadonlySet<string> = new Set(SECRET_NAMES);

/** @param part One of `partsOfName()`. */
export const isSecretPart = (part: string): boolean => SECRETS.has(part) || SECRET_PART.test(part);

/** A name as a whole and its parts, all in their bare form: of `user[password]` and `user.password` also `password`. */
export function partsOfName(name: string): string[] {
  const decoded = decodedLeniently(name);
  return [decoded, ...decoded.split(/[[\].]/)].map(bareName);
}

/** The value of a condition as it may be shown: masked if its name is that of a secret. */
export const shownUnder = (name: string, value: string): string =>
  partsOfName(name).some(isSecretPart) ? REDACTED : value;

/** Decodes as lenient servers do: `%74oken` is `token`, even beside invalid encoding. */
export function decodedLeniently(name: string): string {
  if (!name.includes('%')) return name;
  try {
    return decodeURIComponent(name);
  } catch {
    return name.replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  }
}

export const bareName = (name: string): string => name.toLowerCase().replace(/[^\p{L}\p{N}]/gu, '');
