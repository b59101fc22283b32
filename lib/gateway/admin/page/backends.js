import { byId, el, keyed, setData, setText, svg } from './dom.js';
import { ago, count, milliseconds, rate, share, short, visible } from './format.js';
import { isUnlocked, sendOperation } from './operator.js';
import { stateOf, takesTraffic } from './verdict.js';

/** More rows than this are slow to draw, and too many to read: the filter finds the others. */
const MOST_ROWS = 200;
const FILTER_FROM = 12;
const URGENCY = ['bad', 'warn', 'held', 'ok'];

/** On a narrow screen rows become cards. Browsers then forget that it is a table, unless its roles say so. */
export function startTable(rows) {
  const table = byId(rows).closest('table');
  table.setAttribute('role', 'table');
  for (const [selector, role] of [
    ['thead, tbody', 'rowgroup'],
    ['thead tr', 'row'],
    ['thead th', 'columnheader'],
  ]) {
    for (const part of table.querySelectorAll(selector)) part.setAttribute('role', role);
  }
}

export const keyOf = ({ service, backend }) => `${service} ${backend}`;

/** The table of backends: those that are out first, the others as they are listed. */
export function showBackends(state, series) {
  const { backends } = state;
  const filter = byId('filter').value.trim().toLowerCase();
  const rows = backends
    .map((row, place) => ({ row, place, state: stateOf(row, state.at), series: series.get(keyOf(row)) }))
    .filter(({ row, state: { word, why } }) =>
      `${row.service} ${row.backend} ${word} ${why}`.toLowerCase().includes(filter),
    )
    .sort((a, b) => URGENCY.indexOf(a.state.level) - URGENCY.indexOf(b.state.level) || a.place - b.place);
  const taking = backends.filter(takesTraffic).length;
  const shown = rows.slice(0, MOST_ROWS);
  byId('filter-label').hidden = backends.length < FILTER_FROM;
  byId('backends-empty').hidden = backends.length > 0;
  const more = rows.length > shown.length ? `, ${shown.length} shown` : '';
  setText(byId('backends-note'), backends.length === 0 ? '' : `${taking} of ${backends.length} take requests${more}`);
  setData(byId('backends'), 'operations', isUnlocked() ? 'shown' : 'hidden');
  const hasServices = new Set(backends.map(({ service }) => service)).size > 1;
  const context = { now: state.at, taking, hasServices };
  keyed(
    byId('backend-rows'),
    shown,
    ({ row }) => keyOf(row),
    makeRow,
    (element, item) => updateRow(element, item, context),
  );
}

function makeRow({ row }) {
  const cell = (label, ...children) => el('td', { role: 'cell', 'data-label': label }, ...children);
  const state = cell(
    'State',
    el('span', { class: 'state' }, el('span', { class: 'mark', 'aria-hidden': 'true' }), el('b', { class: 'word' })),
    el('small', { class: 'why' }),
  );
  const buttons = el(
    'span',
    { class: 'buttons' },
    button('drain', row),
    button('isolate', row),
    button('restore', row),
  );
  const latency = cell('Mean latency', el('span', { class: 'spark' }), el('span'));
  const line = el(
    'tr',
    { role: 'row' },
    el(
      'th',
      { role: 'rowheader', scope: 'row' },
      el('bdi', { title: visible(row.backend) }, short(row.backend)),
      ' ',
      el('small', { class: 'service' }),
    ),
    state,
    cell('In flight'),
    cell('Requests/s'),
    latency,
    cell('Errors'),
    cell('Last error', el('bdi'), el('small', { class: 'age' })),
    cell('', buttons),
  );
  for (const place of [2, 3, 4, 5]) line.children[place].classList.add('number');
  line.children[4].classList.add('latency');
  line.children[6].classList.add('error');
  line.children[7].classList.add('operations');
  return line;
}

function updateRow(line, { row, state, series }, { now, taking, hasServices }) {
  const [head, stateCell, inFlight, perSecond, latency, failed, error, operations] = line.children;
  setData(line, 'level', state.level);
  setText(head.lastElementChild, hasServices ? visible(row.service) : '');
  setText(stateCell.querySelector('b'), state.word);
  setText(stateCell.querySelector('small'), state.why);
  const { concurrency } = row;
  const most = concurrency === undefined ? '' : ` of ${count(concurrency.limit)}`;
  setText(inFlight, `${count(concurrency?.inFlight ?? row.inFlight)}${most}`);
  setText(perSecond, rate(row.requestsPerSecond));
  const failures = sum(series?.failures);
  setText(failed, failures === 0 ? '0' : `${count(failures)} (${share(failures, sum(series?.requests))})`);
  failed.classList.toggle('some', failures > 0);
  updateLatency(latency, series);
  const text = row.lastError === undefined ? '' : visible(row.lastError.text);
  setText(error.firstElementChild, text);
  error.firstElementChild.title = text;
  setText(error.lastElementChild, row.lastError === undefined ? '–' : ago(row.lastError.at, now));
  const isLast = taking <= 1 && takesTraffic(row);
  for (const one of operations.querySelectorAll('button')) {
    const { operation: name } = one.dataset;
    one.hidden = !isUnlocked() || (row.held === undefined) === (name === 'restore');
    one.dataset.last = String(isLast);
  }
}

const sum = (values = []) => values.reduce((all, value) => all + value, 0);

function updateLatency(cell, series) {
  const [spark, text] = cell.children;
  const requests = sum(series?.requests);
  if (requests === 0) {
    spark.replaceChildren();
    setText(text, '–');
    return;
  }
  const mean = sum(series.totalMs) / requests;
  setText(text, milliseconds(mean));
  if (cell.series === series) return;
  cell.series = series;
  spark.replaceChildren(sparkline(series));
}

/** Mean latency of each ten seconds; a mark below where something failed. */
function sparkline({ requests, totalMs, failures }) {
  const means = requests.map((value, index) => (value === 0 ? undefined : totalMs[index] / value));
  const most = Math.max(...means.map((value) => value ?? 0));
  const step = 96 / Math.max(1, means.length - 1);
  let d = '';
  let isDown = false;
  for (const [index, mean] of means.entries()) {
    if (mean !== undefined)
      d += `${isDown ? 'L' : 'M'}${(2 + index * step).toFixed(1)} ${(17 - (mean / most) * 14).toFixed(1)}`;
    if (mean !== undefined && !isDown && means[index + 1] === undefined) d += 'h1.5';
    isDown = mean !== undefined;
  }
  const marks = failures.flatMap((value, index) =>
    value > 0
      ? [svg('rect', { class: 'failed', x: String(0.8 + index * step), y: '20', width: '2.4', height: '3' })]
      : [],
  );
  return svg(
    'svg',
    { viewBox: '0 0 100 24', role: 'img', 'aria-label': `slowest ten seconds ${milliseconds(most)}` },
    svg('path', { class: 'line plain', d }),
    ...marks,
  );
}

const QUESTIONS = {
  drain: { yes: 'Drain', text: 'It gets no new requests. Its running requests go on to their end.' },
  isolate: { yes: 'Isolate', text: 'It gets no new requests, and its circuit stays open until you restore it.' },
  restore: { yes: 'Restore', text: 'It gets requests again, with its circuit closed.' },
};
const LAST = ' It is the last backend that takes requests: clients will get 503.';

function button(name, { service, backend }) {
  const { yes, text } = QUESTIONS[name];
  const shown = short(backend);
  const one = el(
    'button',
    { type: 'button', 'data-operation': name, 'aria-label': `${yes} ${shown}`, hidden: true },
    yes,
  );
  one.addEventListener('click', async () => {
    const warning = one.dataset.last === 'true' && name !== 'restore' ? LAST : '';
    await sendOperation(
      'POST',
      `/api/backends/${encodeURIComponent(backend)}/${name}?service=${encodeURIComponent(service)}`,
      {
        title: `${yes} ${shown}?`,
        text: text + warning,
        yes,
      },
    );
  });
  return one;
}
