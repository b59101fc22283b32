import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { ask } from '../support/ask.ts';
import { closeAll, openBackend, openGateway } from './gateways.ts';
import { metricsOf, namesIn } from './promql.ts';
import { until } from './until.ts';

const read = (path: string): string => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');

afterAll(closeAll);

/** Real metrics, of a gateway to which everything has happened that has a metric. */
async function everything(accept?: string): Promise<{ text: string; type: string | undefined }> {
  const [good, bad] = [await openBackend('good'), await openBackend('bad')];
  const down = await openBackend('down');
  await down.close();
  const redis = await openBackend('a port that nothing listens on');
  await redis.close();
  const { url, adminUrl } = await openGateway([good.url, bad.url, down.url, 'dns://nobody.test:80'], {
    // Nobody answers there.
    DNS_SERVERS: '127.0.0.1:9',
    HEALTH_CHECK_PATH: '/healthz',
    REDIS_URL: redis.url.replace('http', 'redis'),
    RATE_LIMIT_MAX: '60',
    MAX_CONNECTIONS_PER_ADDRESS: '2',
    ADAPTIVE_CONCURRENCY: 'on',
  });
  await ask(`${bad.url}/fail?on=1`, { method: 'POST' });
  let text = '';
  const headers: Record<string, string> = accept === undefined ? {} : { Accept: accept };
  let type: string | undefined;
  const wanted = [
    'attempt_failures',
    'retries',
    'circuit_transitions',
    'limiter_mode_changes',
    'health_checks',
    'clients_refused',
    'discovery_failures',
    'backend_responses',
    'request_failures',
  ].map((name) => `${name}_total`);
  let missing: readonly string[] = [];
  await until(async () => {
    await ask(url);
    // Node's parser refuses it, so no middleware sees it.
    await ask(url, { method: 'GET', headers: { 'X-Long': 'x'.repeat(20_000) } }).catch(() => {});
    const answer = await ask(`${adminUrl}/metrics`, { headers });
    ({ text } = answer);
    type = answer.headers['content-type'];
    missing = wanted.filter((name) => !new RegExp(`^expressway_${name}\\{`, 'm').test(text));
    return missing.length === 0;
  }).catch((cause) => {
    throw new Error(`no samples of ${missing}:\n${text}`, { cause });
  });
  return { text, type };
}

describe('/metrics', () => {
  let text: string;

  beforeAll(async () => {
    ({ text } = await everything());
  });

  test('has the names and labels of docs/metrics.md, which follow the conventions of Prometheus', () => {
    const real = metricsOf(text);
    const table = new Map<string, string>();
    for (const [, name, type, labels] of read('docs/metrics.md').matchAll(
      /^\| `(expressway_\w+)` \| (\w+) \| ([^|]*) \|/gm,
    )) {
      table.set(name as string, `${type} ${(labels as string).replace(/[`\s]/g, '')}`);
    }
    // It has samples only with several services.
    const mirrored = 'expressway_mirrored_requests_total';
    expect([table.get(mirrored), real.get(mirrored)?.type]).toEqual(['counter service,result', 'counter']);
    table.delete(mirrored);
    const own = [...real].filter(([name]) => name.startsWith('expressway_') && name !== mirrored);
    expect(new Map(own.map(([name, { type, labels }]) => [name, `${type} ${[...labels].join() || '-'}`]))).toEqual(
      table,
    );
    for (const [name, { type, help }] of own) {
      expect([name, name.endsWith('_total')]).toEqual([name, type === 'counter']);
      if (type === 'histogram') expect(name).toMatch(/_seconds$/);
      expect(help).toMatch(/\.$/);
    }
  });

  test('has every metric and label of the alert rules', () => {
    const rules = rulesIn(read('example-gateway/prometheus/alerts.yaml'));
    expect(rules.length).toBeGreaterThan(8);
    for (const { alert, expr } of rules) expect([alert, unknownIn(expr, text)]).toEqual([alert, []]);
  });

  test('the alert for a service without backends reads a metric that such a service has', async () => {
    const { adminUrl } = await openGateway(['dns://nobody.test:80'], { DNS_SERVERS: '127.0.0.1:9' });
    const { text: without } = await ask(`${adminUrl}/metrics`);
    const rules = rulesIn(read('example-gateway/prometheus/alerts.yaml'));
    const { expr = '' } = rules.find(({ alert }) => alert === 'ExpresswayNoBackend') ?? {};
    const services = namesIn(expr).metrics.map((name) => [
      name,
      new RegExp(`^${name}\\{service="([^"]*)"`, 'm').exec(without)?.[1],
    ]);
    expect(services).toContainEqual(['expressway_backend_up', undefined]);
    expect(services.filter(([, service]) => service !== undefined)).toEqual([[expect.any(String), 'default']]);
  });

  test('the windows of the alert rules hold two scrapes at the default interval of Prometheus, a minute', () => {
    const windows = rulesIn(read('example-gateway/prometheus/alerts.yaml')).flatMap(({ alert, expr }) =>
      [...expr.matchAll(/\[(\d+)m\]/g)].map(([, minutes]) => [alert, Number(minutes)] as const),
    );
    expect(windows.length).toBeGreaterThan(4);
    // With fewer, rate() has no value, and the alert never fires.
    expect(windows.filter(([, minutes]) => minutes < 2)).toEqual([]);
  });

  test('has every metric and label of the Grafana dashboard', () => {
    interface Dashboard {
      readonly panels: readonly { readonly title: string; readonly targets?: readonly { readonly expr: string }[] }[];
    }
    const { panels } = JSON.parse(read('example-gateway/grafana/expressway.json')) as Dashboard;
    const queries = panels.flatMap(({ title, targets = [] }) => targets.map(({ expr }) => [title, expr] as const));
    expect(queries.length).toBeGreaterThan(15);
    for (const [title, expr] of queries) expect([title, unknownIn(expr, text)]).toEqual([title, []]);
  });

  test('has the default metrics of the process, event-loop lag included', () => {
    const real = metricsOf(text);
    expect([...real.keys()]).toEqual(
      expect.arrayContaining(['nodejs_eventloop_lag_p99_seconds', 'process_cpu_seconds_total', 'nodejs_version_info']),
    );
  });
});

test('the check of PromQL queries detects unknown metrics and labels', () => {
  const text = '# TYPE a_total counter\na_total{b="1"} 2\n';
  expect(unknownIn('sum by (b) (rate(a_total{b=~"1|2"}[5m])) > 5', text)).toEqual([]);
  expect(unknownIn('sum by (c) (rate(a_total[5m]))', text)).toEqual(['c']);
  expect(unknownIn('rate(a_total{d="1"}[5m])', text)).toEqual(['d']);
  expect(unknownIn('rate(b_total[5m])', text)).toEqual(['b_total']);
});

test('/metrics sends OpenMetrics to clients that accept it, and the same names to others afterwards', async () => {
  const { text, type } = await everything('application/openmetrics-text;version=1.0.0,text/plain;q=0.5');
  expect(type).toBe('application/openmetrics-text; version=1.0.0; charset=utf-8');
  expect(text).toMatch(/^# TYPE expressway_requests counter\nexpressway_requests_total\{/m);
  expect(text).toMatch(/# EOF\n$/);
  const [one] = [await openBackend('one')];
  const { url, adminUrl } = await openGateway([one.url]);
  await ask(url);
  for (const accept of ['application/openmetrics-text', '*/*', 'application/openmetrics-text', 'text/plain']) {
    const answer = await ask(`${adminUrl}/metrics`, { headers: { Accept: accept } });
    expect(answer.text).toMatch(/^expressway_requests_total\{[^}]*\} 1$/m);
    expect(answer.text).not.toMatch(/_total_total/);
  }
  expect((await ask(`${adminUrl}/metrics`, { method: 'POST' })).status).toBe(405);
  expect((await ask(`${url}/metrics`)).json.backend).toBe('one');
});

/** Alerts and their queries: that much of YAML is used there, a query on its own line or folded over those below it. */
function rulesIn(yaml: string): { readonly alert: string; readonly expr: string }[] {
  return yaml
    .split(/^ +- alert: /m)
    .slice(1)
    .map((rule) => {
      const [, first = '', folded = ''] = /^ {8}expr: (.*)\n((?: {10}.*\n)*)/m.exec(rule) ?? [];
      const expr = first === '>-' ? folded.replace(/\s+/g, ' ') : first;
      expect(expr).toMatch(/[<>=]=? *[\d.]+ *$/);
      return { alert: rule.split('\n', 1)[0] as string, expr };
    });
}

/** Metrics and labels of a query that are not in the text. */
function unknownIn(query: string, text: string): string[] {
  const real = metricsOf(text);
  // Prometheus adds these itself to what it scrapes.
  const added = new Set(['instance', 'job']);
  const { metrics, labels } = namesIn(query);
  const known = new Set<string>();
  for (const [name, { labels: own }] of real) {
    if (metrics.some((one) => one.replace(/_(bucket|sum|count)$/, '') === name || one === name)) {
      for (const label of own) known.add(label);
    }
  }
  const unknown = metrics.filter(
    (name) => name !== 'up' && !real.has(name) && !real.has(name.replace(/_(bucket|sum|count)$/, '')),
  );
  return [...unknown, ...labels.filter((label) => !known.has(label) && !added.has(label) && label !== 'le')];
}
