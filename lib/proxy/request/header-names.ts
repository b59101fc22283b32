import { isIdentityHeader } from './identity-headers.ts';

/** What is to be known of a header by its name. */
export interface HeaderName {
  /** Always the same string for the same text: whoever looks it up finds it sooner. */
  readonly spelling: string;
  readonly lowerCase: string;
  /** As {@link canonical} has it. */
  readonly canonical: string;
  readonly isCanonical: boolean;
  /** It never goes out as it came. */
  readonly isDropped: boolean;
  /** It says who the client is: whoever may not be believed has no say in it. */
  readonly isIdentity: boolean;
}

/** Spellings that are kept. Clients choose their headers: there is no end to what they may be called. */
const MOST_NAMES = 1_000;
const LONGEST_NAME = 64;

/**
 * One name for all spellings that an application cannot tell apart: CGI, WSGI and PHP know headers as variables like
 * `HTTP_X_FORWARDED_FOR`, in which hyphens, underscores, dots and the like are the same.
 */
export function canonical(name: string): string {
  return name.toLowerCase().replace(/[^a-z0-9]/g, '-');
}

/** What a transport knows of header names, by the spelling in which they come: worked out once for each. */
export class HeaderNames {
  readonly #known = new Map<string, HeaderName>();
  readonly #dropped: ReadonlySet<string>;
  readonly #isIdentity: (canonicalName: string) => boolean;

  /**
   * @param dropped Headers that are left out, or written by somebody else, in any spelling.
   * @param isIdentity In a spelling that only applications confuse with such a header, nobody in front writes it: it is dropped.
   */
  constructor(dropped: Iterable<string>, isIdentity: (canonicalName: string) => boolean = isIdentityHeader) {
    this.#dropped = new Set([...dropped].map(canonical));
    this.#isIdentity = isIdentity;
  }

  of(spelling: string): HeaderName {
    return this.#known.get(spelling) ?? this.#learn(spelling);
  }

  #learn(spelling: string): HeaderName {
    const lowerCase = spelling.toLowerCase();
    const canonicalName = canonical(spelling);
    const isCanonical = lowerCase === canonicalName;
    const isIdentity = this.#isIdentity(canonicalName);
    const isDropped = this.#dropped.has(canonicalName) || (isIdentity && !isCanonical);
    const name = { spelling, lowerCase, canonical: canonicalName, isCanonical, isDropped, isIdentity };
    if (spelling.length > LONGEST_NAME) return name;
    if (this.#known.size >= MOST_NAMES) this.#known.clear();
    this.#known.set(spelling, name);
    return name;
  }
}
