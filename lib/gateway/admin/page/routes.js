import { byId, el, keyed, setData, setText } from './dom.js';
import { count, milliseconds, rate, share, visible } from './format.js';
import { circuitState, MODES } from './verdict.js';

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
    .map((row) => ({ row, state: stateOf(row) }))
    .sort((a, b) => LEVELS.indexOf(a.state.level) - LEVELS.indexOf(b.state.level) || b.row.requests - a.row.requests);
  byId('routes').hidden = routes.length === 0;
  byId('route-filter-label').hidden = routes.length < FILTER_FROM;
  const failing = routes.filter((row) => stateOf(row).level === 'bad').length;
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

const LEVELS = ['bad', 'warn', 'held', 'ok'];

function stateOf({ circuit, requests, errors, limiters }) {
  if (circuit !== undefined && circuit.state !== 'closed') {
    return circuitState({ circuit: circuit.state, retryAfterMs: circuit.retryAfterMs });
  }
  if (errors >= TROUBLE * requests && errors > 0) {
    return { level: 'bad', word: 'Failing', why: `${share(errors, requests)} of its requests` };
  }
  if (limiters.some(isInexact)) return { level: 'warn', word: 'Up', why: 'limits on a fallback' };
  return errors > 0 ? { level: 'warn', word: 'Up', why: 'some requests failed' } : { level: 'ok', word: 'Up', why: '' };
}

const isInexact = ({ mode }) => !MODES[mode].isExact;

function makeRow({ row }) {
  const cell = (label, kind) => el('td', { role: 'cell', 'data-label': label, class: kind });
  return el(
    'tr',
    { role: 'row' },
    el(
      'th',
      { role: 'rowheader', scope: 'row' },
      el('bdi', { title: visible(row.route) }, visible(row.route)),
      ' ',
      el('small'),
    ),
    el(
      'td',
      { role: 'cell', 'data-label': 'State' },
      el('span', { class: 'state' }, el('span', { class: 'mark', 'aria-hidden': 'true' }), el('b', { class: 'word' })),
      el('small', { class: 'why' }),
    ),
    cell('Service', 'target'),
    cell('Requests/s', 'number'),
    cell('Errors', 'number'),
    cell('Limited', 'number'),
    cell('p95', 'number'),
    el('td', { role: 'cell', class: 'limits', 'data-label': 'Limits' }, el('span'), el('small', { class: 'mode' })),
  );
}

function updateRow(line, { row, state }) {
  const [head, stateCell, target, perSecond, errors, limited, p95, limits] = line.children;
  setData(line, 'level', state.level);
  setText(stateCell.querySelector('b'), state.word);
  setText(stateCell.querySelector('small'), state.why);
  // The name says it already, unless the declaration gives the route a name.
  setText(head.lastElementChild, row.match === row.route ? '' : visible(row.match));
  setText(target, visible(row.target));
  setText(perSecond, rate(row.requestsPerSecond));
  setText(errors, row.errors === 0 ? '0' : `${count(row.errors)} (${share(row.errors, row.requests)})`);
  errors.classList.toggle('some', row.errors > 0);
  setText(limited, count(row.limited));
  setText(p95, row.p95Ms === undefined ? '–' : milliseconds(row.p95Ms));
  const [list, mode] = limits.children;
  setText(list, row.limits.length === 0 ? '–' : visible(row.limits.join(', ')));
  setText(mode, modesOf(row.limiters));
  mode.classList.toggle('inexact', row.limiters.some(isInexact));
}

/** Once for all limiters that count in the same way. */
const modesOf = (limiters) => [...new Set(limiters.map(({ mode }) => MODES[mode].text))].join(', ');
