import { line, round, text, tickStep } from './svg.ts';

export interface Series {
  readonly label: string;
  readonly points: readonly (readonly [x: number, y: number])[];
  /** Whether it is what the chart is about. */
  readonly isOurs?: boolean;
}

/** Lines over a common x axis. */
export interface LinePanel {
  readonly title: string;
  readonly showX: (value: number) => string;
  readonly showY: (value: number) => string;
  readonly series: readonly Series[];
  /** A value of y to draw a line at. */
  readonly mark?: number;
  /** Values of y above it are drawn at the upper edge. */
  readonly most?: number;
}

interface Place {
  readonly left: number;
  readonly top: number;
  readonly width: number;
}

const HEIGHT = 220;
const AXIS = 30;
/** Between two names of lines that end at the same value. */
const NAME_HEIGHT = 15;
/** One per line, so that lines of one colour can be told apart. */
const DASHES = ['', '6 3', '2 3', '8 3 2 3', '1 4', '12 4'];

export const linePanelHeight: number = HEIGHT + AXIS;

export function linePanelParts(
  { series, showX, showY, mark = 0, most }: LinePanel,
  { left, top, width }: Place,
): string[] {
  const shown = (y: number) => Math.min(most ?? Number.POSITIVE_INFINITY, y);
  const all = series.flatMap(({ points }) => points);
  const xs = [...new Set(all.map(([x]) => x))].sort((a, b) => a - b);
  const [first = 0, last = 1] = [xs[0], xs.at(-1)];
  const highest = Math.max(mark, ...all.map(([, y]) => shown(y)));
  const step = tickStep(highest);
  const end = step * Math.ceil(highest / step) || 1;
  const atX = (x: number) => round(left + ((x - first) / (last - first || 1)) * width);
  const atY = (y: number) => round(top + HEIGHT - (shown(y) / end) * HEIGHT);
  const parts: string[] = [];
  for (let tick = 0; tick <= end + step / 2; tick += step) {
    parts.push(line('grid', left, atY(tick), left + width, atY(tick)));
    parts.push(text(left - 8, atY(tick) + 4, showY(tick), 'quiet', 'end'));
  }
  for (const x of xs) parts.push(text(atX(x), top + HEIGHT + 18, showX(x), 'quiet', 'middle'));
  if (mark > 0) parts.push(line('mark', left, atY(mark), left + width, atY(mark)));
  for (const [index, { points, isOurs }] of series.entries()) {
    const dash = DASHES[index % DASHES.length];
    const path = points.map(([x, y], nth) => `${nth === 0 ? 'M' : 'L'}${atX(x)} ${atY(y)}`).join(' ');
    parts.push(`<path class="curve${isOurs ? ' is-ours' : ''}" stroke-dasharray="${dash}" d="${path}"/>`);
  }
  return [...parts, ...names(series, (y) => atY(y), left + width + 8)];
}

/** The name of each line, beside its end; where several end together, one below the other. */
function names(series: readonly Series[], atY: (y: number) => number, x: number): string[] {
  const ends = series
    .flatMap(({ label, points }) => points.slice(-1).map(([, y]) => ({ label, at: atY(y) + 4 })))
    .sort((a, b) => a.at - b.at);
  let free = Number.NEGATIVE_INFINITY;
  return ends.map(({ label, at }) => {
    const y = Math.max(at, free);
    free = y + NAME_HEIGHT;
    return text(x, y, label, '');
  });
}
