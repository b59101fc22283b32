import { expect, test } from '@jest/globals';
import { type RouteOptions, type RouteStatus, serviceRouter } from 'expressway';

const services = { users: { backends: ['http://127.0.0.1:9'] }, beta: { backends: ['http://127.0.0.1:10'] } };

const summaryOf = async (route: RouteOptions): Promise<RouteStatus> => {
  const router = serviceRouter({ services, routes: [route] });
  const [status] = router.routes();
  await router.close();
  return status as RouteStatus;
};

test.each<[RouteOptions, Partial<RouteStatus>]>([
  [{ service: 'users' }, { name: '/', match: '/', target: 'users', limits: [] }],
  [
    { name: 'list', path: { exact: '/users' }, methods: ['GET', 'HEAD'], service: 'users' },
    { name: 'list', match: 'GET|HEAD =/users' },
  ],
  [
    {
      path: '/v2',
      hostnames: ['a.example', '*.b.example'],
      headers: { 'x-beta': '1' },
      query: { v: '2' },
      service: 'users',
    },
    { match: 'a.example/v2, or *.b.example, header x-beta: 1, query v=2' },
  ],
  [
    { headers: { 'x-origin-secret': 'hunter2' }, query: { api_key: 'hunter3' }, service: 'users' },
    { match: '/, header x-origin-secret: ***, query api_key=***' },
  ],
  [
    {
      service: [
        { name: 'users', weight: 9 },
        { name: 'beta', weight: 1 },
      ],
    },
    { target: 'users 9, beta 1' },
  ],
  [{ service: 'users', mirror: { service: 'beta', percent: 2.5 } }, { target: 'users, 2.5 % mirrored to beta' }],
  [{ service: 'users', mirror: { service: 'beta' } }, { target: 'users, mirrored to beta' }],
  [{ redirect: { scheme: 'https' } }, { target: 'redirect 302' }],
  [{ respond: { status: 204 } }, { target: 'responds 204' }],
  [
    {
      service: 'users',
      rateLimit: ['100/1m', { limit: '5/1s', key: { header: 'x-tenant' } }],
      maxInFlight: 50,
      maxInFlightPerClient: 5,
    },
    { limits: ['100/1m', '5/1s per header x-tenant', 'at most 50 at a time', 'at most 5 at a time per client'] },
  ],
])('a route is summed up in words: %j', async (route, expected) => {
  expect(await summaryOf(route)).toMatchObject({ ...expected, options: route });
});

test('a shared limit is shown with its name, and a new declaration has other summaries', async () => {
  const router = serviceRouter({
    services,
    rateLimits: { shared: { limit: '7/1h' } },
    routes: [{ path: '/a', service: 'users', rateLimit: 'shared' }],
  });
  expect(router.routes()).toMatchObject([{ name: '/a', limits: ['7/1h (shared)'] }]);
  router.setDeclaration({ services, routes: [{ path: '/b', service: 'beta' }] });
  expect(router.routes()).toMatchObject([{ name: '/b', target: 'beta', limits: [] }]);
  await router.close();
});
