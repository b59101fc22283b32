import type { DemoChild } from './demo-child.ts';

export interface DemoFacts {
  readonly url: string;
  readonly adminUrl: string | undefined;
  readonly children: readonly DemoChild[];
  /** Ports that others had. */
  readonly taken: readonly number[];
  readonly limit: number;
  readonly windowMs: number;
}

/** Default of a backend's circuit: how long it stays open. */
const OPEN_SECONDS = 10;

/** What a person at a terminal may want to try, in an order in which each step works. */
export function demoGuide({ url, adminUrl, children, taken, limit, windowMs }: DemoFacts): string {
  const [, shop] = children as [DemoChild, DemoChild, ...DemoChild[]];
  const count = (path: string, requests: number): string =>
    `for i in $(seq ${requests}); do curl -s -o /dev/null -w '%{http_code}\\n' ${url}${path}; done | sort | uniq -c`;
  const lines = [
    '',
    'Expressway demo: a gateway in front of three services, as example-gateway/gateway.yaml says. Its limits are kept in memory.',
    '',
    ...taken.map((port) => `Port ${port} is taken, so another one is used.`),
    `  gateway         ${url}`,
    `  admin           ${adminUrl ?? 'off'}`,
    ...children.map((child) => `  backend ${child.name.padEnd(6)}  ${child.url}  (pid ${child.pid})`),
    '',
    ...(adminUrl ? [`Open ${adminUrl}`, ''] : []),
    'Try in another terminal:',
    '',
    '  Each path has its service, and the backends of the shop take turns:',
    `    curl -s ${url}/users/1; curl -s ${url}/shop/cart; curl -s ${url}/shop/cart`,
    '',
    '  What happens to a request, and why:',
    '    npm run expressway -- check example-gateway/gateway.yaml GET /shop/cart',
    '',
    '  A response comes through as the backend gave it, an event stream event by event:',
    `    curl -i ${url}/shop/status/404`,
    `    curl -N ${url}/events/stream`,
    '',
    `  One backend of the shop fails: its circuit opens and the other one serves, until trials go well after ${OPEN_SECONDS} s:`,
    `    curl -s -X POST '${shop.url}/fail?on=1'`,
    `    ${count('/shop', 20)}`,
    ...(adminUrl ? [`    curl -s ${adminUrl}/status`] : []),
    `    curl -s -X POST '${shop.url}/fail?on=0'`,
    '',
    '  It dies: no request fails:',
    `    kill ${shop.pid}`,
    `    ${count('/shop', 20)}`,
    '',
    '  A change of example-gateway/gateway.yaml takes effect without a lost request; a mistake in it changes nothing.',
    '',
    `  More than 60 requests in 60 s from one address to /users, or ${limit} in ${windowMs / 1000} s to all, get 429:`,
    `    ${count('/users/1', 70)}`,
    '',
    'Ctrl-C ends it all.',
    '',
  ];
  return `${lines.join('\n')}\n`;
}
