/** One line of an exposition. */
export interface Sample {
  readonly labels: Readonly<Record<string, string | number>>;
  readonly value: number;
  /** The metric's name with a suffix, where it is not the name itself. */
  readonly metricName?: string;
}

export type MetricType = 'counter' | 'gauge' | 'histogram';

/** What a cluster's registry makes of the values of its workers. */
export type MetricAggregator = 'sum' | 'max' | 'average';

/**
 * A metric as a prom-client registry takes it: the registry asks for all samples when it is scraped. The counts
 * themselves lie where they are cheap to raise; prom-client's own classes hash all labels each time: docs/decisions/0029.
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
   * Two middlewares may have the same name, and Prometheus refuses a page on which a series stands twice: theirs become
   * one, as those of several processes do. Counts are kept by their labels, and so are distinct anyway.
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

  /** A registry's `resetMetrics()` is for tests; counters of a running gateway only go up. */
  reset(): void {}
}

/** Adds one metric to a registry. */
export type DefineMetric = (
  name: string,
  help: string,
  type: MetricType,
  samples: (fullName: string) => Iterable<Sample>,
) => void;

/** What is asked of a prom-client `Registry`. */
export interface MetricRegister {
  registerMetric(metric: { get(): Promise<unknown> }): void;
}
