import { expect, test } from '@jest/globals';
import { GatewayEvents, prometheusMetrics, serviceRouter, statusFeed } from '../../lib/index.ts';

test('status and metrics have the services of the declaration that is in force, also of one that the app sets itself', async () => {
  const events = new GatewayEvents();
  const services = (...names: string[]) =>
    Object.fromEntries(names.map((name, index) => [name, { backends: [`http://127.0.0.1:${index + 1}`] }]));
  const router = serviceRouter({ services: services('users', 'shop'), routes: [{ service: 'users' }], events });
  const registered: { name: string; get(): Promise<unknown> }[] = [];
  const register = { registerMetric: (metric: never) => void registered.push(metric) };
  const metrics = prometheusMetrics({ register, events, routers: [router] });
  // One that is given by both options comes once.
  const proxies = [...router.services.values()].slice(0, 1);
  const feed = statusFeed({ events, metrics, proxies, routers: [router] });
  const shown = async () => {
    const up = registered.find(({ name }) => name === 'expressway_backend_up');
    const { values = [] } = ((await up?.get()) ?? {}) as { values?: { labels: { service: string } }[] };
    return [feed.snapshot().backends.map(({ service }) => service), values.map(({ labels }) => labels.service)];
  };
  try {
    expect(await shown()).toEqual([
      ['users', 'shop'],
      ['users', 'shop'],
    ]);
    router.setDeclaration({ services: services('users', 'orders', 'chat'), routes: [{ service: 'chat' }] });
    expect(await shown()).toEqual([
      ['users', 'orders', 'chat'],
      ['users', 'orders', 'chat'],
    ]);
  } finally {
    feed.close();
    metrics.close();
    await router.close();
  }
});
