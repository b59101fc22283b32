/** A router, as far as its routes have limiters and circuits of their own. */
export interface RouteParts<Limiter, Breaker> {
  routes(): readonly {
    readonly circuit?: Breaker | undefined;
    readonly limiters?: readonly Limiter[] | undefined;
  }[];
}

/** The limiters that are given, and those of all routes. One that several routes share comes once. */
export const allLimiters = <L>(own: readonly L[] = [], routers: readonly RouteParts<L, unknown>[] = []): L[] => [
  ...new Set([...own, ...routers.flatMap((router) => router.routes().flatMap(({ limiters = [] }) => limiters))]),
];

/** The circuit breakers that are given, and those of all routes. */
export const allBreakers = <B>(own: readonly B[] = [], routers: readonly RouteParts<unknown, B>[] = []): B[] => [
  ...own,
  ...routers.flatMap((router) => router.routes().flatMap(({ circuit }) => circuit ?? [])),
];
