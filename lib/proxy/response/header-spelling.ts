/** Number of names that are kept. A backend sends few, each mostly in one spelling. */
const MAX_NAMES = 256;

const NOTHING: readonly Buffer[] = [];

interface Known {
  readonly bytes: Buffer;
  readonly text: string;
}

/**
 * How a backend spells the names of its headers. undici gives them in lower case. Devices and old clients of HTTP/1.1 depend on the
 * spelling, though names are case-insensitive (RFC 9110 §5.1). Comparing a name with that of the previous response costs a
 * quarter of making a string of it.
 */
export class HeaderSpelling {
  readonly #known = new Map<string, Known>();
  #raw: readonly Buffer[] = NOTHING;
  #at = 0;

  /**
   * Begins with the next section of headers. Without one it forgets the last section.
   *
   * @param raw Names and values in turn, as undici gives them.
   */
  read(raw?: unknown): this {
    this.#raw = Array.isArray(raw) ? raw : NOTHING;
    this.#at = 0;
    return this;
  }

  /** Goes back to the first name. */
  again(): void {
    this.#at = 0;
  }

  /**
   * @param name In lower case. Callers ask for names in the order in which they first came.
   * @returns The spelling of its first line.
   */
  of(name: string): string {
    const raw = this.#raw;
    const known = this.#known.get(name);
    for (let at = this.#at; at < raw.length; at += 2) {
      const bytes = raw[at] as Buffer;
      if (known !== undefined && isEqual(known.bytes, bytes)) {
        this.#at = at + 2;
        return known.text;
      }
      if (!isSpelling(bytes, name)) continue;
      this.#at = at + 2;
      const text = bytes.toString('latin1');
      // A copy: the buffer would keep a larger one in memory.
      if (known !== undefined || this.#known.size < MAX_NAMES)
        this.#known.set(name, { bytes: Buffer.from(text), text });
      return text;
    }
    // JavaScript puts names that look like numbers first.
    return name;
  }
}

function isEqual(a: Buffer, b: Buffer): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i += 1) if (a[i] !== b[i]) return false;
  return true;
}

function isSpelling(bytes: Buffer, name: string): boolean {
  // Most other names differ in length or in their first letter.
  if (bytes.length !== name.length || ((bytes[0] as number) | 0x20) !== (name.charCodeAt(0) | 0x20)) return false;
  return bytes.toString('latin1').toLowerCase() === name;
}
