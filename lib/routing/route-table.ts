import { Conditions, comparePrecedence, type MatchedRequest, type RouteMatch } from './route-match.ts';

/** One route of a table. */
export interface TableEntry<R> {
  readonly route: R;
  readonly conditions: Conditions;
  /** Position in the declared list. */
  readonly index: number;
}

/** A path segment: the routes whose prefix ends here, in matching order, and the segments that follow in longer prefixes. */
interface Segment<R> {
  entries: TableEntry<R>[] | undefined;
  next: Map<string, Segment<R>> | undefined;
}

/** The routes of one hostname, by path. Lists are in matching order. */
interface HostTable<R> {
  readonly exact: Map<string, TableEntry<R>[]>;
  readonly prefixes: Segment<R>;
}

/** A label of the hostnames that wildcards end with, read from the right. */
interface Label<R> {
  table: HostTable<R> | undefined;
  next: Map<string, Label<R>> | undefined;
}

/**
 * Finds the route of a request. A lookup follows the path segments and hostname labels of the routes, and ends at the first one that no
 * route has. So its cost depends neither on the number of routes nor on the length of the request. Only routes that differ in nothing but
 * method, headers or query are searched one by one.
 */
export class RouteTable<R> {
  /** In matching order. */
  readonly entries: readonly TableEntry<R>[];
  readonly #exactHosts = new Map<string, HostTable<R>>();
  readonly #wildcardHosts: Label<R> = { table: undefined, next: undefined };
  readonly #anyHost: HostTable<R> = emptyTable();

  /** Whether the hostname of a request makes a difference. */
  get usesHostnames(): boolean {
    return this.#exactHosts.size > 0 || this.#wildcardHosts.next !== undefined;
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
    const exact = this.#exactHosts.size === 0 ? undefined : this.#exactHosts.get(hostname);
    return (
      (exact && findIn(exact, request)) ??
      findUnder(this.#wildcardHosts, hostname.length, request) ??
      findIn(this.#anyHost, request)
    );
  }

  #hostTable(name: string): HostTable<R> {
    if (!name.startsWith('.')) return getOrMake(this.#exactHosts, name, emptyTable<R>);
    let label = this.#wildcardHosts;
    for (const text of name.slice(1).split('.').reverse()) {
      label.next ??= new Map();
      label = getOrMake(label.next, text, () => ({ table: undefined, next: undefined }));
    }
    label.table ??= emptyTable();
    return label.table;
  }
}

/**
 * Tries the wildcards that the hostname ends with, the longest first. A wildcard stands for at least one label.
 *
 * @param end Index in the hostname where the labels that are not read yet end.
 */
function findUnder<R>({ next }: Label<R>, end: number, request: MatchedRequest): TableEntry<R> | undefined {
  if (next === undefined) return undefined;
  const { hostname } = request;
  const dot = hostname.lastIndexOf('.', end - 1);
  if (dot <= 0) return undefined;
  const label = next.get(hostname.slice(dot + 1, end));
  if (label === undefined) return undefined;
  return findUnder(label, dot, request) ?? (label.table && findIn(label.table, request));
}

function findIn<R>({ exact, prefixes }: HostTable<R>, request: MatchedRequest): TableEntry<R> | undefined {
  const { path } = request;
  const found = exact.size === 0 ? undefined : firstOf(exact.get(path), request);
  if (found !== undefined) return found;
  // `*`, the target of `OPTIONS` for the whole server, has no segments.
  return path.startsWith('/') ? findBelow(prefixes, 0, request) : firstOf(prefixes.entries, request);
}

/**
 * Tries the prefixes of the path, the longest first. The root is the empty prefix.
 *
 * @param start Index of the slash after the segments that were read.
 */
function findBelow<R>(
  { entries, next }: Segment<R>,
  start: number,
  request: MatchedRequest,
): TableEntry<R> | undefined {
  const { path } = request;
  if (next !== undefined && start < path.length) {
    const slash = path.indexOf('/', start + 1);
    const end = slash === -1 ? path.length : slash;
    const segment = next.get(path.slice(start + 1, end));
    const found = segment && findBelow(segment, end, request);
    if (found !== undefined) return found;
  }
  return firstOf(entries, request);
}

function firstOf<R>(entries: readonly TableEntry<R>[] | undefined, request: MatchedRequest): TableEntry<R> | undefined {
  if (entries === undefined) return undefined;
  for (const entry of entries) if (entry.conditions.hold(request)) return entry;
  return undefined;
}

function add<R>({ exact, prefixes }: HostTable<R>, entry: TableEntry<R>): void {
  const { path, isExact } = entry.conditions;
  if (isExact) {
    getOrMake(exact, path, () => []).push(entry);
    return;
  }
  let segment = prefixes;
  for (const text of path.split('/').slice(1)) {
    segment.next ??= new Map();
    segment = getOrMake(segment.next, text, () => ({ entries: undefined, next: undefined }));
  }
  segment.entries ??= [];
  segment.entries.push(entry);
}

function getOrMake<V>(map: Map<string, V>, key: string, make: () => V): V {
  const known = map.get(key);
  if (known !== undefined) return known;
  const made = make();
  map.set(key, made);
  return made;
}

const emptyTable = <R>(): HostTable<R> => ({
  exact: new Map(),
  prefixes: { entries: undefined, next: undefined },
});

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
