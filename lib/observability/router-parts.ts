/** The parts of a router: proxies of services, and limiters and circuits of routes. A new declaration changes them. */
export interface RouterParts<Limiter, Breaker, Proxy> {
  readonly services?: ReadonlyMap<string, Proxy> | undefined;
  routes(): readonly {
    readonly circuit?: Breaker | undefined;
    readonly limiters?: readonly Limiter[] | undefined;
  }[];
}

/** The proxies that are given, and those of all routers. */
export const allProxies = <P>(
  own: readonly P[] = [],
  routers: readonly RouterParts<unknown, unknown, P>[] = [],
): P[] => [...new Set([...own, ...routers.flatMap(({ services }) => [...(services?.values() ?? [])])])];

/** The limiters that are given, and those of all routes. One that several routes share comes once. */
export const allLimiters = <L>(
  own: readonly L[] = [],
  routers: readonly RouterParts<L, unknown, unknown>[] = [],
): L[] => [
  ...new Set([...own, ...routers.flatMap((router) => router.routes().flatMap(({ limiters = [] }) => limiters))]),
];

/** The circuit breakers that are given, and those of all routes. */
export const allBreakers = <B>(
  own: readonly B[] = [],
  routers: readonly RouterParts<unknown, B, unknown>[] = [],
): B[] => [...own, ...routers.flatMap((router) => router.routes().flatMap(({ circuit }) => circuit ?? []))];
