/** A Redis URL that keeps its password to itself: error messages show the class's name only. */
export class RedisUrl {
  readonly #href: string;
  /** What is wrong with the URL, if anything. */
  readonly problem: string | undefined;

  constructor(href: string) {
    this.#href = href;
    this.problem = problemOf(href);
  }

  /** The whole URL, for the client only. */
  get href(): string {
    return this.#href;
  }
}

/** The redis package finds these problems only when it makes the client, which is after construction. */
function problemOf(href: string): string | undefined {
  const url = URL.parse(href);
  if (url === null) return 'must be a Redis URL, but cannot be parsed';
  if (url.protocol !== 'redis:' && url.protocol !== 'rediss:') return 'must start with redis:// or rediss://';
  if (url.hostname === '') return 'must name a host';
  if (!/^\/?\d*$/.test(url.pathname)) return 'must have a database number or nothing as its path';
  try {
    decodeURIComponent(url.username + url.password);
  } catch {
    return 'must percent-encode its user name and password';
  }
  return undefined;
}
