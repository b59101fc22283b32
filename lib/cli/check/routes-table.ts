import { shownUnder } from '../../core/secret-names.ts';
import type { Declaration, RouteOptions } from '../../index.ts';
import { routeName } from '../../routing/route-options.ts';
import { RouteTable } from '../../routing/route-table.ts';
import { oneLine } from '../terminal.ts';

const HEADINGS = ['route', 'hostnames', 'path', 'if', 'to', 'with'] as const;

/** The routes of a declaration in matching order. */
export function routesInOrder(declaration: Declaration): RouteTable<RouteOptions>['entries'] {
  return new RouteTable(declaration.routes.map((route) => ({ route, match: route }))).entries;
}

/** The routes of a declaration in matching order, a line for each. */
export function routesTable(file: string, declaration: Declaration): string {
  const rows = routesInOrder(declaration).map(({ route }) => cellsOf(route));
  const widths = HEADINGS.map((heading, index) =>
    Math.max(heading.length, ...rows.map((row) => (row[index] as string).length)),
  );
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, index) => cell.padEnd(widths[index] as number))
      .join('  ')
      .trimEnd();
  const services = Object.keys(declaration.services).length;
  const counts = `${services} ${services === 1 ? 'service' : 'services'}, ${rows.length} ${rows.length === 1 ? 'route' : 'routes'}`;
  return `${file}: ${counts}. The first route that fits takes a request:\n\n${[HEADINGS, ...rows].map(line).map(oneLine).join('\n')}\n`;
}

function cellsOf(route: RouteOptions): readonly string[] {
  const { hostnames = [], path = '/', methods, headers = {}, query = {} } = route;
  const conditions = [
    ...(methods === undefined ? [] : [methods.join('|')]),
    ...Object.entries(headers).map(([name, value]) => `${name}: ${shownUnder(name, value)}`),
    ...Object.entries(query).map(([name, value]) => `?${name}=${shownUnder(name, value)}`),
  ];
  const shown = typeof path === 'string' ? path : 'exact' in path ? `= ${path.exact}` : path.prefix;
  return [
    routeName(route),
    [hostnames].flat().join(' ') || 'any',
    shown,
    conditions.join(', '),
    goal(route),
    extras(route),
  ];
}

/** Where the requests of a route go. */
export function goal({ service, redirect, respond }: RouteOptions): string {
  if (redirect !== undefined) return `redirect (${redirect.status ?? 302})`;
  if (respond !== undefined) return `response (${respond.status ?? 200})`;
  return typeof service === 'string'
    ? service
    : (service ?? []).map(({ name, weight }) => `${name}:${weight}`).join(' ');
}

/** Options that other columns show. */
const SHOWN: ReadonlySet<string> = new Set<keyof RouteOptions>([
  'name',
  'hostnames',
  'path',
  'methods',
  'headers',
  'query',
  'service',
  'redirect',
  'respond',
  'rateLimit',
]);

/** The limits of a route, and the names of its other options. */
function extras(route: RouteOptions): string {
  const limits = [route.rateLimit ?? []].flat().map((one) => (typeof one === 'string' ? one : one.limit));
  return [...limits, ...Object.keys(route).filter((name) => !SHOWN.has(name))].join(', ');
}
