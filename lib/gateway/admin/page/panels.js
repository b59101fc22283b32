import { byId, el, keyed, setData, setText } from './dom.js';
import {
  ago,
  bytes,
  count,
  milliseconds,
  percent,
  rate,
  share,
  short,
  span,
  time,
  timeZone,
  visible,
} from './format.js';
import { isUnlocked, sendOperation } from './operator.js';
import { MODES, takesTraffic, tightest } from './verdict.js';

export function showVerdict({ headline, problems, gateway }) {
  setData(byId('verdict'), 'level', headline.level);
  setText(byId('verdict-title'), visible(headline.title));
  keyed(
    byId('verdict-reasons'),
    problems,
    ({ problem, subject }) => `${problem} ${subject}`,
    () => el('li', {}, el('span'), el('b', {}, ' Next: '), el('span')),
    (item, { severity, text, nextStep }) => {
      setData(item, 'severity', severity);
      setText(item.children[0], visible(text));
      setText(item.children[2], visible(nextStep));
    },
  );
  const mark = { ok: '', warn: '(!) ', bad: '(down) ' }[headline.level];
  document.title = `${mark}${visible(gateway.name)} on ${visible(gateway.host)}`;
  setText(byId('gateway-name'), visible(gateway.name));
  setText(byId('gateway-host'), `on ${visible(gateway.host)}`);
}

/** In the first screenful: which backend is out, who causes errors, which client is limited, how much headroom is left. */
export function showTiles(state) {
  const { rates, backends, clients, load } = state;
  const out = backends.filter((row) => !takesTraffic(row)).length;
  const errors = rates.backendErrors + rates.gatewayErrors;
  const errorShare = rates.requests > 0 ? errors / rates.requests : 0;
  const use = tightest(state);
  const tiles = [
    {
      name: 'Traffic',
      value: `${rate(rates.requests)}/s`,
      more: `${count(load.inFlight)} in flight${load.waiting > 0 ? `, ${count(load.waiting)} wait for a backend` : ''}`,
      level: 'ok',
    },
    {
      name: 'Backends',
      value: `${backends.length - out} / ${backends.length}`,
      more: out === 0 ? 'all take requests' : `${out} ${out === 1 ? 'takes' : 'take'} no requests`,
      level: out === 0 ? 'ok' : out === backends.length ? 'bad' : 'warn',
    },
    {
      name: 'Errors',
      value: `${rate(errors)}/s`,
      more:
        errors === 0
          ? 'none'
          : `backends ${rate(rates.backendErrors)}/s, gateway ${rate(rates.gatewayErrors)}/s (${share(errors, rates.requests)} of all requests)`,
      level: errorShare > 0.05 ? 'bad' : errors > 0 ? 'warn' : 'ok',
    },
    {
      name: 'Limited',
      value: `${rate(rates.limited)}/s`,
      more: clients.length === 0 ? 'no client' : `most often ${visible(clients[0].key)}`,
      level: rates.limited > 0 ? 'warn' : 'ok',
    },
    {
      name: 'Headroom',
      value: percent(Math.max(0, 1 - use.part)),
      more: `least: ${use.what}`,
      level: use.part > 0.9 ? 'bad' : use.part > 0.7 ? 'warn' : 'ok',
    },
  ];
  keyed(
    byId('tiles'),
    tiles,
    ({ name }) => name,
    ({ name }) =>
      el('div', { class: 'tile' }, el('dt', {}, name), el('dd', { class: 'value' }), el('dd', { class: 'more' })),
    (tile, { value, more, level }) => {
      setData(tile, 'level', level);
      setText(tile.children[1], value);
      setText(tile.children[2], more);
    },
  );
}

/** A few limiters by name; of many, how many count in the same way. */
function limiterNote(limiters) {
  if (limiters.length <= 3)
    return limiters.map(({ name, mode }) => `${visible(name)}: ${MODES[mode].text}`).join(' · ');
  const same = Map.groupBy(limiters, ({ mode }) => MODES[mode].text);
  return [...same].map(([text, all]) => `${count(all.length)} limiters: ${text}`).join(' · ');
}

export function showClients(state) {
  const { clients, limiters } = state;
  setText(byId('limiters'), limiterNote(limiters));
  byId('clients-table').hidden = clients.length === 0;
  byId('clients-empty').hidden = clients.length > 0;
  keyed(
    byId('client-rows'),
    clients,
    ({ limiter, key }) => `${limiter} ${key}`,
    makeClient,
    (line, client) => {
      const [, refused, limit, last, operations] = line.children;
      setText(
        refused,
        `${client.overcount > 0 ? '≤ ' : ''}${count(client.refused)}${client.shadow ? ' (shadow)' : ''}`,
      );
      setText(limit, count(client.limit));
      setText(last, ago(client.lastAt, state.at));
      // Of a key of the app's own only a part is known here.
      operations.firstElementChild.hidden = !isUnlocked() || client.key.includes('\u2026');
    },
  );
}

function makeClient({ key }) {
  const reset = el(
    'button',
    { type: 'button', 'aria-label': `Reset the limit of ${visible(key)}`, hidden: true },
    'Reset',
  );
  reset.addEventListener('click', () =>
    sendOperation('DELETE', `/api/limits/${encodeURIComponent(key)}`, {
      title: `Reset the limit of ${visible(key)}?`,
      text: 'The gateway forgets the requests that it has counted: the client may send requests again at once.',
      yes: 'Reset',
    }),
  );
  const cell = () => el('td', { class: 'number' });
  return el(
    'tr',
    {},
    el('th', { scope: 'row' }, el('bdi', { title: visible(key) }, visible(key))),
    cell(),
    cell(),
    cell(),
    el('td', { class: 'operations' }, reset),
  );
}

let announced;

export function showChanges({ at: now, changes }) {
  setText(byId('zone'), changes.length === 0 ? '' : `Times in ${timeZone(now)}`);
  byId('changes-empty').hidden = changes.length > 0;
  keyed(
    byId('changes'),
    changes,
    ({ at, subject, text }) => `${at} ${subject} ${text}`,
    ({ at, subject, text, isBad }) =>
      el(
        'li',
        { 'data-level': isBad ? 'bad' : text === 'circuit half-open' ? 'warn' : 'ok' },
        el('time', { datetime: new Date(at).toISOString() }, time(at)),
        el('span', { class: 'mark', 'aria-hidden': 'true' }),
        el('span', {}, el('bdi', {}, text.includes(short(subject)) ? '' : `${short(subject)} `), visible(text)),
      ),
    () => {},
  );
  const [latest] = changes;
  const key = latest === undefined ? '' : `${latest.at} ${latest.subject} ${latest.text}`;
  // What was there before the page opened is no news.
  if (announced !== undefined && key !== announced && latest !== undefined) {
    setText(byId('announce'), `${short(latest.subject)}: ${visible(latest.text)}`);
  }
  announced = key;
}

export function showRoom({ processes, load }) {
  setText(
    byId('room-note'),
    `${count(load.retriesLeft)} retries left in the budget, ${count(load.waiting)} requests wait for a backend`,
  );
  keyed(
    byId('room'),
    processes,
    ({ pid }) => String(pid),
    makeProcess,
    (element, one) => {
      const [title, loop, heap, connections] = element.children;
      const name = one.worker === undefined ? 'Process' : `Worker ${one.worker}, process`;
      setText(title, `${name} ${one.pid}, up ${span(one.uptimeMs)}`);
      setGauge(
        loop,
        one.loopBusy,
        `${percent(one.loopBusy)} busy, timers late by ${milliseconds(one.loopLagMs)} (p99), ${milliseconds(one.loopMaxMs)} (longest)`,
      );
      setGauge(
        heap,
        one.heapUsedBytes / one.heapLimitBytes,
        `${bytes(one.heapUsedBytes)} of ${bytes(one.heapLimitBytes)}, ${bytes(one.rssBytes)} of memory in all`,
      );
      const cap = one.maxConnections;
      setGauge(
        connections,
        cap > 0 ? one.connections / cap : 0,
        cap > 0 ? `${count(one.connections)} of ${count(cap)}` : `${count(one.connections)}, no limit`,
      );
    },
  );
}

function makeProcess() {
  const gauge = (name) =>
    el(
      'div',
      { class: 'gauge' },
      el('span', {}, name),
      el('meter', { min: '0', max: '1', high: '0.7', optimum: '0', 'aria-label': name }),
      el('b'),
    );
  return el('div', { class: 'process' }, el('h3'), gauge('Event loop'), gauge('Heap'), gauge('Connections'));
}

function setGauge(gauge, part, text) {
  const meter = gauge.children[1];
  if (meter.value !== part) meter.value = part;
  setText(gauge.children[2], text);
}

export async function showConfig() {
  let config;
  try {
    config = await (await fetch('/api/config')).json();
  } catch {
    setText(byId('versions'), 'The gateway does not respond. Close and open this to try again.');
    byId('settings').replaceChildren();
    return;
  }
  const { versions, settings } = config;
  setText(
    byId('versions'),
    Object.entries(versions)
      .map(([name, version]) => `${name} ${version}`)
      .join(' · '),
  );
  byId('settings').replaceChildren(
    ...[...settings]
      .sort((a, b) => a.isDefault - b.isDefault)
      .map(({ name, value, isDefault }) =>
        el(
          'div',
          { class: isDefault ? 'default' : 'changed' },
          el('dt', {}, ...name.split(/(?<=_)/).flatMap((part) => [part, el('wbr')])),
          el('dd', {}, el('bdi', {}, visible(value)), isDefault ? el('small', {}, ' default') : ''),
        ),
      ),
  );
}
