import { byId, el, keyed, setData, setText } from './dom.js';
import { count, milliseconds, percent, rate, visible } from './format.js';

const FILTER_FROM = 12;
/** From this share of errors on a route is in trouble, as in the problems of the gateway. */
const TROUBLE = 0.05;

/** The table of routes: those in trouble first, then those with most requests. Without routes it is hidden. */
export function showRoutes({ routes, routeCount }) {
  const filter = byId('route-filter').value.trim().toLowerCase();
  const rows = routes
    .filter(({ route, match, target, limits }) =>
      `${route} ${match} ${target} ${limits.join(' ')}`.toLowerCase().includes(filter),
    )
    .map((row) => ({ row, level: levelOf(row) }))
    .sort((a, b) => LEVELS.indexOf(a.level) - LEVELS.indexOf(b.level) || b.row.requests - a.row.requests);
  byId('routes').hidden = routes.length === 0;
  byId('route-filter-label').hidden = routes.length < FILTER_FROM;
  const failing = routes.filter((row) => levelOf(row) === 'bad').length;
  const all = routeCount > routes.length ? `${count(routes.length)} of ${count(routeCount)} routes` : count(routeCount);
  const found = filter === '' ? '' : `, ${count(rows.length)} shown`;
  setText(byId('routes-note'), `${all}, ${failing === 0 ? 'none' : count(failing)} in trouble${found}`);
  keyed(
    byId('route-rows'),
    rows,
    ({ row }) => row.route,
    makeRow,
    (line, item) => updateRow(line, item),
  );
}

const LEVELS = ['bad', 'warn', 'ok'];

function levelOf({ requests, errors }) {
  if (errors === 0) return 'ok';
  return errors >= TROUBLE * requests ? 'bad' : 'warn';
}

function makeRow({ row }) {
  const cell = (label, kind) => el('td', { 'data-label': label, class: kind });
  return el(
    'tr',
    {},
    el('th', { scope: 'row' }, el('bdi', { title: visible(row.route) }, visible(row.route)), ' ', el('small')),
    cell('Service'),
    cell('Requests/s', 'number'),
    cell('Errors', 'number'),
    cell('Limited', 'number'),
    cell('p95', 'number'),
    cell('Limits'),
  );
}

function updateRow(line, { row, level }) {
  const [head, target, perSecond, errors, limited, p95, limits] = line.children;
  setData(line, 'level', level);
  // The name says it already, unless somebody gave the route a name.
  setText(head.lastElementChild, row.match === row.route ? '' : visible(row.match));
  setText(target, visible(row.target));
  setText(perSecond, rate(row.requestsPerSecond));
  setText(errors, row.errors === 0 ? '0' : `${count(row.errors)} (${percent(row.errors / row.requests)})`);
  errors.classList.toggle('some', row.errors > 0);
  setText(limited, count(row.limited));
  setText(p95, row.p95Ms === undefined ? '–' : milliseconds(row.p95Ms));
  setText(limits, row.limits.length === 0 ? '–' : visible(row.limits.join(', ')));
}
