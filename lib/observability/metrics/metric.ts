/** One sample of a metric. */
export interface Sample {
  readonly labels: Readonly<Record<string, string | number>>;
  readonly value: number;
  /** The metric's name with a suffix, if it has one. */
  readonly metricName?: string;
}

export type MetricType = 'counter' | 'gauge' | 'histogram';

/** How to merge the values of several workers. */
export type MetricAggregator = 'sum' | 'max' | 'average';

/**
 * A metric in the form that a prom-client registry accepts: the registry asks for all samples at each scrape. The counts themselves are
 * kept where it is cheap to increase them. prom-client's own classes hash all labels each time: docs/decisions/0029.
 */
export class Metric {
  readonly name: string;
  readonly help: string;
  readonly type: MetricType;
  readonly aggregator: MetricAggregator;
  readonly #samples: () => Iterable<Sample>;

  constructor(
    name: string,
    help: string,
    type: MetricType,
    samples: () => Iterable<Sample>,
    aggregator: MetricAggregator = 'sum',
  ) {
    this.name = name;
    this.help = help;
    this.type = type;
    this.#samples = samples;
    this.aggregator = aggregator;
  }

  async get(): Promise<object> {
    const { name, help, type, aggregator } = this;
    return { name, help, type, aggregator, values: type === 'gauge' ? this.#distinct() : [...this.#samples()] };
  }

  /**
   * Merges series of the same name and labels, as for several processes: two middlewares may have the same name, and Prometheus rejects a
   * page with a repeated series. Counts are kept by their labels and so never repeat.
   */
  #distinct(): Sample[] {
    const byLabels = Map.groupBy(this.#samples(), ({ labels }) => JSON.stringify(labels));
    return [...byLabels.values()].map((same) => {
      const [first] = same as [Sample, ...Sample[]];
      if (same.length === 1) return first;
      const values = same.map(({ value }) => value);
      if (this.aggregator === 'max') return { ...first, value: Math.max(...values) };
      const sum = values.reduce((all, value) => all + value, 0);
      return { ...first, value: this.aggregator === 'average' ? sum / values.length : sum };
    });
  }

  /** Does nothing: a registry's `resetMetrics()` is for tests, and counters of a running gateway only go up. */
  reset(): void {}
}

/** Adds one metric to a registry. */
export type DefineMetric = (
  name: string,
  help: string,
  type: MetricType,
  samples: (fullName: string) => Iterable<Sample>,
) => void;

/** The part of a prom-client `Registry` that we use. */
export interface MetricRegister {
  registerMetric(metric: { get(): Promise<unknown> }): void;
}
