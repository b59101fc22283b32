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
    return { name, help, type, aggregator, values: [...this.#samples()] };
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
