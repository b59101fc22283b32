import { Chart } from './chart.js';
import { byId } from './dom.js';
import { milliseconds, rate } from './format.js';
import { quantile } from './quantile.js';

const perSecond =
  (name) =>
  (slot, { slotMs }) =>
    slot[name] / (slotMs / 1000);
const ofLatency =
  (part) =>
  (slot, { boundsMs }) =>
    quantile(slot.durations, boundsMs, part);
const aSecond = (value) => `${rate(value)}/s`;

/** The three charts. */
export function makeCharts() {
  const charts = [
    new Chart(byId('chart-traffic'), 'Traffic', aSecond, [
      { name: 'requests', look: 'plain', filled: true, of: perSecond('requests') },
      { name: 'limited', look: 'dashed', of: perSecond('limited') },
    ]),
    new Chart(byId('chart-errors'), 'Errors', aSecond, [
      { name: 'by backends', look: 'bad', filled: true, of: perSecond('backendErrors') },
      { name: 'by the gateway', look: 'warn', of: perSecond('gatewayErrors') },
    ]),
    new Chart(byId('chart-latency'), 'Latency of backend responses', milliseconds, [
      { name: 'p50', look: 'plain', of: ofLatency(0.5) },
      { name: 'p95', look: 'dashed', of: ofLatency(0.95) },
      { name: 'p99', look: 'dotted', of: ofLatency(0.99) },
    ]),
  ];
  return (history) => {
    for (const chart of charts) chart.draw(history);
  };
}
