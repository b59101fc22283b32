import { bareName, decodedLeniently, isSecretPart, partsOfName, REDACTED } from '../../core/secret-names.ts';

/** Most characters of a request target that are shown, and of any other text of the client. */
export const MAX_TARGET = 2_048;
export const MAX_TEXT = 512;

/** The part before a value: a separator, a name and `=`. */
const NAME = /([?&;#])([^=&;?#]+)=/g;
/** The same for a path parameter (RFC 3986 §3.3), such as `;jsessionid=`. */
const PATH_VALUE_END = /[/;?#]/g;
/** The end of a value. Not `;` and `?`: for most servers they are part of the value. */
const QUERY_VALUE_END = /[&#]/g;

/** Names whose result is cached. Clients can send any number of names. */
const MAX_NAMES = 1_000;
const MAX_NAME = 64;

/** Masks secrets in request targets and URLs. */
export class Redaction {
  readonly #names: ReadonlySet<string>;
  readonly #patterns: readonly Pattern[];
  readonly #known = new Map<string, boolean>();

  /** @param names More names of secrets, in any spelling; `*` stands for any characters. */
  constructor(names: readonly string[]) {
    this.#names = new Set(
      names
        .filter((name) => !name.includes('*'))
        .map(bareName)
        .filter(Boolean),
    );
    this.#patterns = names.filter((name) => name.includes('*')).map((name) => patternOf(name.split('*').map(bareName)));
  }

  /** Whether a parameter or field of this name holds a secret; `user[password]` and `user.password` do. */
  isSecret(name: string): boolean {
    if (name.length > MAX_NAME) return this.#decide(name);
    let isSecret = this.#known.get(name);
    if (isSecret === undefined) {
      isSecret = this.#decide(name);
      if (this.#known.size >= MAX_NAMES) this.#known.clear();
      this.#known.set(name, isSecret);
    }
    return isSecret;
  }

  #decide(name: string): boolean {
    return partsOfName(name).some((part) => this.#isSecretPart(part));
  }

  #isSecretPart(part: string): boolean {
    return this.#names.has(part) || isSecretPart(part) || this.#patterns.some((matches) => matches(part));
  }

  /** @param names Further names of secrets, in this spelling. */
  url(text: string, names?: ReadonlySet<string>): string {
    // A user name, and perhaps a password, before a host; also in the URL of a parameter.
    const shown = text.includes('@') ? text.replace(/\/\/[^/?#&\s]*@/g, `//${REDACTED}@`) : text;
    return shown.includes('=') ? this.#withoutSecrets(shown, names) : shown;
  }

  #withoutSecrets(text: string, names: ReadonlySet<string> | undefined): string {
    let shown = '';
    let copied = 0;
    const queryAt = text.indexOf('?');
    NAME.lastIndex = 0;
    for (let found = NAME.exec(text); found !== null; found = NAME.exec(text)) {
      const [, separator, name] = found;
      if (!this.isSecret(name as string) && names?.has(decodedLeniently(name as string)) !== true) continue;
      const isInPath = separator === ';' && (queryAt === -1 || found.index < queryAt);
      shown += text.slice(copied, NAME.lastIndex) + REDACTED;
      copied = endOf(isInPath ? PATH_VALUE_END : QUERY_VALUE_END, text, NAME.lastIndex);
      NAME.lastIndex = copied;
    }
    return copied === 0 ? text : shown + text.slice(copied);
  }
}

/** The end of a value that begins at `from`. */
function endOf(ends: RegExp, text: string, from: number): number {
  ends.lastIndex = from;
  return ends.exec(text)?.index ?? text.length;
}

type Pattern = (name: string) => boolean;

/**
 * Matches names that consist of these parts, in this order, with any characters between them. A regular expression with two or more `.*` could take seconds
 * for a long name of a client.
 */
function patternOf([start = '', ...parts]: readonly string[]): Pattern {
  const end = parts.pop() ?? '';
  return (name) => {
    if (!name.startsWith(start) || !name.endsWith(end)) return false;
    let from = start.length;
    for (const part of parts) {
      const at = name.indexOf(part, from);
      if (at === -1) return false;
      from = at + part.length;
    }
    return from + end.length <= name.length;
  };
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not get into a log.
const CONTROL = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g;
// biome-ignore lint/suspicious/noControlCharactersInRegex: the same, to look only.
const HAS_CONTROL = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/;

const escaped = (char: string): string => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`;

/**
 * Escapes control characters, and those of text direction, so that the text cannot control a terminal, begin a line or reorder what follows it.
 * Cuts it at `maxLength` characters.
 */
export function printable(text: string, maxLength: number): string {
  const short = text.length > maxLength ? `${text.slice(0, maxLength)}...` : text;
  return HAS_CONTROL.test(short) ? short.replace(CONTROL, escaped) : short;
}

const HAS_HIGH = /[\u0080-\u00ff]/;
const BEYOND_LATIN_1 = /[\u0100-\uffff]/;
const UTF_8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** What a client sent, in the characters that it meant. Node reads bytes as Latin-1; if they are well-formed UTF-8, the client meant that. */
export function decodedField(value: string): string {
  if (!HAS_HIGH.test(value) || BEYOND_LATIN_1.test(value)) return value;
  try {
    return UTF_8.decode(Buffer.from(value, 'latin1'));
  } catch {
    return value;
  }
}
