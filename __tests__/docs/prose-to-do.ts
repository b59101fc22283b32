/** Files whose text is not yet plain. Take a file off when it is; add none. */
export const NOT_YET_CLEAN: ReadonlySet<string> = new Set([
  'CHANGELOG.md',
  'bench/README.md',
  'docs/decisions/0081-routes-and-services.md',
  'lib/cli/start/start.ts',
  'lib/rate-limit/memory/client-table.ts',
]);
