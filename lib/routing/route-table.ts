import { Conditions, comparePrecedence, type MatchedRequest, type RouteMatch } from './route-match.ts';

/** One route of a table. */
export interface TableEntry<R> {
  readonly route: R;
  readonly conditions: Conditions;
  /** Place in the list that was given. */
  readonly index: number;
}

/** The routes of one hostname, by path. Lists are in matching order. */
interface HostTable<R> {
  readonly exact: Map<string, TableEntry<R>[]>;
  readonly prefixes: Map<string, TableEntry<R>[]>;
  /** Path segments of the longest prefix: no request makes us look for more. */
  depth: number;
}

/**
 * Finds the route of a request. The cost of a lookup depends on the number of path segments and hostname labels that the
 * routes name, not on the number of routes or on the length of the request's path: there is no list to go through, except
 * for routes that differ in method, headers or query alone.
 */
export class RouteTable<R> {
  /** In matching order. */
  readonly entries: readonly TableEntry<R>[];
  readonly #exactHosts = new Map<string, HostTable<R>>();
  /** By suffix, with the dot. */
  readonly #wildcardHosts = new Map<string, HostTable<R>>();
  readonly #anyHost: HostTable<R> = emptyTable();
  #longestSuffix = 0;

  /** Whether the hostname of a request makes a difference. */
  get usesHostnames(): boolean {
    return this.#exactHosts.size > 0 || this.#longestSuffix > 0;
  }

  constructor(routes: readonly { readonly route: R; readonly match: RouteMatch }[]) {
    const entries = routes.map(({ route, match }, index) => ({ route, conditions: new Conditions(match), index }));
    for (const entry of [...entries].sort(inOrder)) {
      const { hostnames } = entry.conditions;
      if (hostnames.length === 0) add(this.#anyHost, entry);
      for (const name of hostnames) add(this.#hostTable(name), entry);
    }
    this.entries = entries.sort((a, b) => compareHosts(a.conditions, b.conditions) || inOrder(a, b));
  }

  /** The route that takes the request, if there is one. */
  find(request: MatchedRequest): TableEntry<R> | undefined {
    const { hostname } = request;
    const exact = this.#exactHosts.get(hostname);
    const found = exact && findIn(exact, request);
    if (found !== undefined) return found;
    if (this.#longestSuffix > 0) {
      // A hostname longer than every suffix is cut first, so a hostname of 10,000 dots costs no more than one of ten.
      let dot = hostname.indexOf('.', Math.max(1, hostname.length - this.#longestSuffix));
      while (dot !== -1) {
        const table = this.#wildcardHosts.get(hostname.slice(dot));
        const match = table && findIn(table, request);
        if (match !== undefined) return match;
        dot = hostname.indexOf('.', dot + 1);
      }
    }
    return findIn(this.#anyHost, request);
  }

  #hostTable(name: string): HostTable<R> {
    const isWildcard = name.startsWith('.');
    if (isWildcard) this.#longestSuffix = Math.max(this.#longestSuffix, name.length);
    return getOrMake(isWildcard ? this.#wildcardHosts : this.#exactHosts, name, emptyTable<R>);
  }
}

function findIn<R>(table: HostTable<R>, request: MatchedRequest): TableEntry<R> | undefined {
  const { path } = request;
  const found = firstOf(table.exact.get(path), request);
  if (found !== undefined) return found;
  // From the longest prefix that a route names to the shortest. The root is the empty prefix.
  let end = endOfSegment(path, table.depth);
  for (;;) {
    const match = firstOf(table.prefixes.get(path.slice(0, end)), request);
    if (match !== undefined || end <= 0) return match;
    end = Math.max(0, path.lastIndexOf('/', end - 1));
  }
}

/** Where the first `count` path segments end. */
function endOfSegment(path: string, count: number): number {
  let end = 0;
  for (let left = count; left > 0; left -= 1) {
    end = path.indexOf('/', end + 1);
    if (end === -1) return path.length;
  }
  return end;
}

function firstOf<R>(entries: readonly TableEntry<R>[] | undefined, request: MatchedRequest): TableEntry<R> | undefined {
  return entries?.find(({ conditions }) => conditions.hold(request));
}

function add<R>(table: HostTable<R>, entry: TableEntry<R>): void {
  const { path, isExact } = entry.conditions;
  getOrMake(isExact ? table.exact : table.prefixes, path, () => []).push(entry);
  if (!isExact) table.depth = Math.max(table.depth, path.split('/').length - 1);
}

function getOrMake<V>(map: Map<string, V>, key: string, make: () => V): V {
  const known = map.get(key);
  if (known !== undefined) return known;
  const made = make();
  map.set(key, made);
  return made;
}

const emptyTable = <R>(): HostTable<R> => ({ exact: new Map(), prefixes: new Map(), depth: 0 });

const inOrder = <R>(a: TableEntry<R>, b: TableEntry<R>): number =>
  comparePrecedence(a.conditions, b.conditions) || a.index - b.index;

/** Exact hostnames first, then the longest wildcard, then routes for any hostname. */
function compareHosts(a: Conditions, b: Conditions): number {
  return hostRank(b) - hostRank(a);
}

function hostRank({ hostnames }: Conditions): number {
  // Longer than any hostname (RFC 1035 §2.3.4: 255).
  const EXACT = 1_000;
  return Math.max(0, ...hostnames.map((name) => name.length + (name.startsWith('.') ? 0 : EXACT)));
}
