import { el, keyed, setText, svg } from './dom.js';
import { span, time } from './format.js';

const WIDTH = 600;
const HEIGHT = 120;

/** A ceiling that is a round number, so that the scale does not jump at every look. */
function ceiling(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value);
}

/** Lines over the time that has been counted, 15 minutes at most. Each has a pattern of its own beside its colour. */
export class Chart {
  #figure;
  #unit;
  #lines;
  #shape = svg('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img' });
  #legend = el('ul', { class: 'legend' });
  #top = el('span', { class: 'top' });
  #from = el('span');
  #readout = el('span', { class: 'readout', 'aria-hidden': 'true' });
  #cursor = svg('line', { class: 'cursor', y1: '0', y2: String(HEIGHT) });
  #points = [];
  #history;
  /** The time that the lines show. */
  #spanned = '';

  /** @param lines Of each its name, the class of its colour, and what it shows of a slot. */
  constructor(figure, title, unit, lines) {
    this.#figure = figure;
    this.#unit = unit;
    this.#lines = lines;
    const plot = el('div', { class: 'plot' }, this.#top, this.#shape);
    const axis = el('div', { class: 'axis', 'aria-hidden': 'true' }, this.#from, this.#readout, el('span', {}, 'now'));
    figure.append(el('figcaption', {}, el('h3', {}, title), this.#legend), plot, axis);
    plot.addEventListener('pointermove', (event) => this.#point(event));
    plot.addEventListener('pointerleave', () => this.#leave());
  }

  draw(history) {
    const { slots, slotMs, length } = history;
    this.#history = history;
    const end = slots.length === 0 ? 0 : slots.at(-1).at;
    const oldest = end - (length - 1) * slotMs;
    // At least two slots wide, so that one slot is at the right edge.
    const start = Math.min(end - slotMs, Math.max(oldest, slots[0]?.at ?? 0));
    this.#points = slots
      .filter(({ at }) => at >= start)
      .map((slot) => ({
        at: slot.at,
        x: ((slot.at - start) / (end - start)) * WIDTH,
        values: this.#lines.map(({ of }) => of(slot, history)),
      }));
    const values = this.#points.flatMap((point) => point.values).filter((value) => value !== undefined);
    const top = ceiling(Math.max(0, ...values));
    const grid = [0.5].map((part) =>
      svg('line', { class: 'grid', x1: '0', x2: String(WIDTH), y1: String(HEIGHT * part), y2: String(HEIGHT * part) }),
    );
    const paths = this.#lines.flatMap((line, index) => this.#paths(line, index, top));
    this.#shape.replaceChildren(...grid, ...paths, this.#cursor);
    setText(this.#top, values.length === 0 ? '' : this.#unit(top));
    this.#spanned = span(end - start + slotMs);
    this.#shape.setAttribute('aria-label', this.#summary());
    setText(this.#from, slots.length === 0 ? 'the first 10 seconds are being counted' : `${this.#spanned} ago`);
    this.#figure.dataset.slots = String(slots.length);
    this.#showLegend(this.#points.at(-1));
  }

  #paths({ look, filled }, index, top) {
    const pieces = [[]];
    let before;
    for (const { at, x, values } of this.#points) {
      const value = values[index];
      const isGap = before !== undefined && at - before > 1.5 * this.#history.slotMs;
      if (value === undefined || isGap) pieces.push([]);
      before = at;
      if (value !== undefined) pieces.at(-1).push([x, HEIGHT - 2 - (value / top) * (HEIGHT - 4)]);
    }
    return pieces
      .filter((piece) => piece.length > 0)
      .flatMap((piece) => {
        // A single point would be invisible.
        const points = piece.length === 1 ? [piece[0], [piece[0][0] - 3, piece[0][1]]] : piece;
        const d = points.map(([x, y], at) => `${at === 0 ? 'M' : 'L'}${x.toFixed(1)} ${y.toFixed(1)}`).join('');
        const line = svg('path', { class: `line ${look}`, d });
        if (!filled) return [line];
        const area = `${d}L${points.at(-1)[0].toFixed(1)} ${HEIGHT}L${points[0][0].toFixed(1)} ${HEIGHT}Z`;
        return [svg('path', { class: `area ${look}`, d: area }), line];
      });
  }

  #showLegend(point) {
    const items = this.#lines.map(({ name, look }, index) => ({ name, look, value: point?.values[index] }));
    keyed(
      this.#legend,
      items,
      ({ name }) => name,
      ({ name, look }) => {
        const sample = svg(
          'svg',
          { class: 'swatch', viewBox: '0 0 18 8', 'aria-hidden': 'true' },
          svg('path', { class: `line ${look}`, d: 'M0 4L18 4' }),
        );
        return el('li', {}, sample, `${name} `, el('b'));
      },
      (item, { value }) => setText(item.lastElementChild, value === undefined ? '–' : this.#unit(value)),
    );
  }

  #summary() {
    const parts = this.#lines.map(({ name }, index) => {
      const values = this.#points.map((point) => point.values[index]).filter((value) => value !== undefined);
      if (values.length === 0) return `${name}: no data yet`;
      return `${name}: now ${this.#unit(values.at(-1))}, most ${this.#unit(Math.max(...values))}`;
    });
    return `The last ${this.#spanned}. ${parts.join('; ')}.`;
  }

  #point(event) {
    const box = this.#shape.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * WIDTH;
    const near = this.#points.reduce(
      (best, point) => (best === undefined || Math.abs(point.x - x) < Math.abs(best.x - x) ? point : best),
      undefined,
    );
    if (near === undefined) return;
    this.#cursor.setAttribute('x1', String(near.x));
    this.#cursor.setAttribute('x2', String(near.x));
    this.#cursor.classList.add('shown');
    setText(this.#readout, time(near.at));
    this.#showLegend(near);
  }

  #leave() {
    this.#cursor.classList.remove('shown');
    setText(this.#readout, '');
    this.#showLegend(this.#points.at(-1));
  }
}
