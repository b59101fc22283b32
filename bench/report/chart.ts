import { type LinePanel, linePanelHeight, linePanelParts } from './line-panel.ts';
import type { Spread } from './statistics.ts';
import { escaped, line, round, text, tickStep } from './svg.ts';

export interface Bar {
  readonly label: string;
  readonly spread: Spread;
  /** Whether it is what the chart is about. */
  readonly isOurs?: boolean;
}

/** Bars that share a scale. */
export interface Panel {
  readonly title: string;
  /** How to write a value. */
  readonly show: (value: number) => string;
  readonly bars: readonly Bar[];
  /** A value to draw a line at, such as 1 for a ratio. */
  readonly mark?: number;
}

export interface Chart {
  readonly title: string;
  /** Machine, versions, date: what the numbers depend on. */
  readonly notes: readonly string[];
  readonly panels: readonly (Panel | LinePanel)[];
}

const WIDTH = 860;
const MARGIN = 24;
const LABELS = 210;
const VALUES = 170;
const PLOT = WIDTH - 2 * MARGIN - LABELS - VALUES;
const LEFT = MARGIN + LABELS;
/** Beside a panel with lines: of its axis, and the names of the lines. */
const LINE_LABELS = 70;
const LEGEND = 130;
const ROW = 26;
const BAR = 16;
const TITLE = 34;
const AXIS = 30;

/** Text has the colours of the reader's scheme; where there is none, the light ones. */
const STYLE = `
    svg { font: 13px system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif; }
    .back { fill: #ffffff; } text { fill: #1f2328; } .quiet { fill: #59636e; font-size: 12px; }
    .title { font-size: 17px; font-weight: 600; } .panel { font-size: 14px; font-weight: 600; }
    .bar { fill: #8c959f; } .ours { fill: #0969da; } .whisker { stroke: #1f2328; stroke-width: 1.5; }
    .curve { fill: none; stroke-width: 1.5; stroke: #8c959f; } .curve.is-ours { stroke: #0969da; stroke-width: 3; }
    .grid { stroke: #d1d9e0; } .mark { stroke: #bc4c00; stroke-dasharray: 4 3; stroke-width: 1.5; }
    @media (prefers-color-scheme: dark) {
      .back { fill: #0d1117; } text { fill: #f0f6fc; } .quiet { fill: #9198a1; }
      .bar { fill: #656c76; } .ours { fill: #4493f8; } .whisker { stroke: #f0f6fc; }
      .curve { stroke: #656c76; } .curve.is-ours { stroke: #4493f8; }
      .grid { stroke: #30363d; } .mark { stroke: #f0883e; }
    }`;

/** Horizontal bars of medians with whiskers from quartile to quartile, as an SVG document of its own. */
export function renderChart({ title, notes, panels }: Chart): string {
  const body: string[] = [];
  let y = MARGIN + 16;
  body.push(text(MARGIN, y, title, 'title'));
  for (const note of notes) {
    y += 20;
    body.push(text(MARGIN, y, note, 'quiet'));
  }
  for (const panel of panels) {
    y += TITLE;
    body.push(text(MARGIN, y, panel.title, 'panel'));
    y += 10;
    if ('series' in panel) {
      body.push(
        ...linePanelParts(panel, {
          left: MARGIN + LINE_LABELS,
          top: y,
          width: WIDTH - 2 * MARGIN - LINE_LABELS - LEGEND,
        }),
      );
      y += linePanelHeight;
    } else {
      body.push(...panelParts(panel, y));
      y += panel.bars.length * ROW + AXIS;
    }
  }
  const height = y + MARGIN / 2;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img">
  <title>${escaped(title)}</title>
  <style>${STYLE}
  </style>
  <rect class="back" width="${WIDTH}" height="${height}"/>
  ${body.join('\n  ')}
</svg>
`;
}

function panelParts({ bars, show, mark }: Panel, top: number): string[] {
  const step = tickStep(Math.max(mark ?? 0, ...bars.map(({ spread }) => spread.upper)));
  const most = step * Math.ceil(Math.max(mark ?? 0, ...bars.map(({ spread }) => spread.upper)) / step);
  const at = (value: number) => round(LEFT + (Math.max(0, value) / most) * PLOT);
  const bottom = top + bars.length * ROW;
  const parts: string[] = [];
  for (let tick = 0; tick <= most + step / 2; tick += step) {
    parts.push(line('grid', at(tick), top, at(tick), bottom));
    parts.push(text(at(tick), bottom + 16, show(tick), 'quiet', 'middle'));
  }
  for (const [index, { label, spread, isOurs }] of bars.entries()) {
    const y = top + index * ROW + (ROW - BAR) / 2;
    const middle = y + BAR / 2;
    parts.push(text(LEFT - 8, middle + 4, label, '', 'end'));
    parts.push(
      `<rect class="${isOurs ? 'ours' : 'bar'}" x="${LEFT}" y="${y}" width="${round(at(spread.median) - LEFT)}" height="${BAR}"/>`,
    );
    parts.push(line('whisker', at(spread.lower), middle, at(spread.upper), middle));
    for (const end of [spread.lower, spread.upper])
      parts.push(line('whisker', at(end), middle - 4, at(end), middle + 4));
    const value = `${show(spread.median)} (${show(spread.lower)}–${show(spread.upper)})`;
    parts.push(text(LEFT + PLOT + 12, middle + 4, value, ''));
  }
  if (mark !== undefined) parts.push(line('mark', at(mark), top, at(mark), bottom));
  return parts;
}
