import type { Bar, Panel } from './chart.ts';
import type { Spread } from './statistics.ts';
import type { Summary } from './summary.ts';

export const times = (value: number): string => `${value.toFixed(2)}×`;
export const perSecond = (value: number): string => Math.round(value).toLocaleString('en');
export const micros = (value: number): string => `${value.toFixed(1)} µs`;

/** One bar per target that has a valid value. */
export function panelOf(
  title: string,
  summaries: readonly Summary[],
  pick: (summary: Summary) => Spread | undefined,
  { show = times, mark, isOurs = (name) => name === 'suite', labels = {} }: PanelOptions = {},
): Panel {
  const bars = summaries.flatMap((summary): Bar[] => {
    const spread = summary.status === 'ok' ? pick(summary) : undefined;
    return spread === undefined
      ? []
      : [{ label: labels[summary.name] ?? summary.name, spread, isOurs: isOurs(summary.name) }];
  });
  return { title, show, bars, ...(mark === undefined ? {} : { mark }) };
}

interface PanelOptions {
  readonly show?: (value: number) => string;
  readonly mark?: number;
  readonly isOurs?: (name: string) => boolean;
  /** What to call a target, where not by its name. */
  readonly labels?: Readonly<Record<string, string>>;
}
