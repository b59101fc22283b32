import { keyOf, showBackends, startTable } from './backends.js';
import { makeCharts } from './charts.js';
import { byId, setData, setText } from './dom.js';
import { follow } from './live.js';
import { showOperator, startOperator } from './operator.js';
import { showChanges, showClients, showConfig, showRoom, showTiles, showVerdict } from './panels.js';
import { showRoutes } from './routes.js';

const WORDS = {
  waiting: 'Connecting',
  live: 'Live',
  lost: 'Connection to the gateway lost: the page shows what it last saw, and tries again',
};

const drawCharts = makeCharts();
let latest;
let series = new Map();

function show() {
  if (latest === undefined) return;
  showVerdict(latest);
  showTiles(latest);
  showBackends(latest, series);
  showRoutes(latest);
  showClients(latest);
  showChanges(latest);
  showRoom(latest);
  showOperator(latest.canAct);
}

for (const rows of ['backend-rows', 'route-rows']) startTable(rows);
startOperator(show);
for (const id of ['filter', 'route-filter']) byId(id).addEventListener('input', show);
// Each time that it opens: a reload may have changed settings.
byId('config').addEventListener('toggle', ({ currentTarget }) => {
  if (currentTarget.open) void showConfig();
});

follow({
  state(state) {
    latest = state;
    show();
  },
  history(history) {
    series = new Map(history.backends.map((one) => [keyOf(one), one]));
    drawCharts(history);
    show();
  },
  status(word) {
    setData(byId('live'), 'live', word);
    setText(byId('live-text'), WORDS[word]);
    document.body.classList.toggle('stale', word === 'lost');
  },
});
