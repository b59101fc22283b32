/** Query and path parameters whose values are secrets: credentials, sessions, and the signatures of signed URLs. */
export const SECRET_PARAMETERS: readonly string[] = [
  'access_token',
  'api_key',
  'api-key',
  'apikey',
  'auth',
  'authorization',
  'client_secret',
  'code',
  'credential',
  'id_token',
  'jsessionid',
  'jwt',
  'key',
  'otp',
  'pass',
  'passwd',
  'password',
  'phpsessid',
  'pwd',
  'refresh_token',
  'sas',
  'secret',
  'session',
  'session_id',
  'sessionid',
  'sid',
  'sig',
  'signature',
  'ticket',
  'token',
  'x-amz-credential',
  'x-amz-security-token',
  'x-amz-signature',
  'x-goog-credential',
  'x-goog-signature',
];

/** Fields that are never shown, even when they are asked for. */
export const SECRET_FIELDS: ReadonlySet<string> = new Set([
  'authorization',
  'cookie',
  'proxy-authorization',
  'proxy-authenticate',
  'set-cookie',
  'www-authenticate',
  'x-amz-security-token',
  'x-api-key',
  'x-auth-token',
  'x-csrf-token',
  'x-xsrf-token',
]);

export const REDACTED = '***';

const PARAMETER = /([?&;#])([^=&;?#]+)=([^&;?#]*)/g;

/** Takes secrets out of request targets and URLs. */
export class Redaction {
  readonly #names: ReadonlySet<string>;

  /** @param names Of parameters, in any case; added to those that are secret anyway. */
  constructor(names: readonly string[]) {
    this.#names = new Set([...SECRET_PARAMETERS, ...names].map((name) => name.toLowerCase()));
  }

  url(text: string): string {
    let shown = text;
    // The parts before the @ of an absolute URL: a user, and perhaps a password.
    if (shown.includes('@')) shown = shown.replace(/^([a-z][a-z0-9+.-]*:)?\/\/[^/?#]*@/i, `$1//${REDACTED}@`);
    if (!shown.includes('=')) return shown;
    return shown.replace(PARAMETER, (whole, separator: string, name: string) =>
      this.#names.has(plain(name)) ? `${separator}${name}=${REDACTED}` : whole,
    );
  }
}

/** A name as servers read it: `%74oken` is `token`, and PHP takes `token[]` for it too. */
function plain(name: string): string {
  let decoded = name;
  try {
    if (name.includes('%')) decoded = decodeURIComponent(name);
  } catch {
    // Not decodable: nobody reads it as one of ours.
  }
  return decoded.toLowerCase().replace(/\[.*$/, '').trim();
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not get into a log.
const CONTROL = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g;
// biome-ignore lint/suspicious/noControlCharactersInRegex: the same, to look only.
const HAS_CONTROL = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/;

/** Text that moves no terminal and begins no line, cut at `maxLength` characters. */
export function printable(text: string, maxLength: number): string {
  const short = text.length > maxLength ? `${text.slice(0, maxLength)}...` : text;
  if (!HAS_CONTROL.test(short)) return short;
  return short.replace(CONTROL, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
