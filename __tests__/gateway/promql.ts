export interface MetricShape {
  readonly type: string;
  readonly help: string;
  readonly labels: ReadonlySet<string>;
}

/** The metrics in a text of Prometheus' format, by name, with all labels that their samples have. */
export function metricsOf(text: string): Map<string, MetricShape> {
  const found = new Map<string, { type: string; help: string; labels: Set<string> }>();
  for (const line of text.split('\n')) {
    const [, kind, name = '', rest = ''] = /^# (HELP|TYPE) (\S+) (.*)$/.exec(line) ?? [];
    if (kind === undefined) {
      const [, sample = '', labels = ''] = /^([a-z_][a-z0-9_]*)(?:\{(.*)\})? /.exec(line) ?? [];
      const shape = found.get(sample) ?? found.get(sample.replace(/_(bucket|sum|count)$/, ''));
      for (const [, label] of labels.matchAll(/([a-z_]+)="(?:[^"\\]|\\.)*"/g)) {
        if (label !== 'le') shape?.labels.add(label as string);
      }
      continue;
    }
    const shape = found.get(name) ?? { type: '', help: '', labels: new Set<string>() };
    if (kind === 'TYPE') shape.type = rest;
    else shape.help = rest;
    found.set(name, shape);
  }
  return found;
}

const WORDS = new Set([
  'by',
  'without',
  'on',
  'ignoring',
  'group_left',
  'group_right',
  'and',
  'or',
  'unless',
  'bool',
  'offset',
]);
const GROUPINGS = new Set(['by', 'without', 'on', 'ignoring', 'group_left', 'group_right']);

/** The names in a PromQL query: of metrics, and of labels in braces and groupings. Functions are followed by `(`. */
export function namesIn(query: string): { readonly metrics: string[]; readonly labels: string[] } {
  const tokens = query.match(/"(?:[^"\\]|\\.)*"|\[[^\]]*\]|[A-Za-z_:][\w:]*|[\d.]+[a-z]*|[=!~<>]+|[(){},]|\S/g) ?? [];
  const metrics: string[] = [];
  const labels: string[] = [];
  let inBraces = false;
  let inGrouping = false;
  for (const [index, token] of tokens.entries()) {
    if (token === '{') inBraces = true;
    else if (token === '}') inBraces = false;
    else if (token === '(') inGrouping = GROUPINGS.has(tokens[index - 1] ?? '');
    else if (token === ')') inGrouping = false;
    if (!/^[A-Za-z_]/.test(token)) continue;
    if (inBraces || inGrouping) labels.push(token);
    else if (tokens[index + 1] !== '(' && !WORDS.has(token) && !isAggregation(tokens[index + 1])) metrics.push(token);
  }
  return { metrics, labels };
}

/** `sum by (le) (...)`: an aggregation may have its grouping before what it is applied to. */
const isAggregation = (next: string | undefined): boolean => next === 'by' || next === 'without';
