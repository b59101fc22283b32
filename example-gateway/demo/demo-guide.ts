import type { DemoChild } from './demo-child.ts';

export interface DemoFacts {
  readonly url: string;
  readonly adminUrl: string | undefined;
  readonly children: readonly DemoChild[];
  /** Ports that others had. */
  readonly taken: readonly number[];
  readonly limit: number;
  readonly windowMs: number;
  readonly openMs: number;
}

/** What a person at a terminal may want to try, in an order in which each step works. */
export function demoGuide({ url, adminUrl, children, taken, limit, windowMs, openMs }: DemoFacts): string {
  const [first] = children as [DemoChild, ...DemoChild[]];
  const count = (requests: number): string =>
    `for i in $(seq ${requests}); do curl -s -o /dev/null -w '%{http_code}\\n' ${url}/; done | sort | uniq -c`;
  const lines = [
    '',
    'Expressway demo: a gateway in front of two backends, its limits kept in memory.',
    '',
    ...taken.map((port) => `Port ${port} is taken, so another one is used.`),
    `  gateway      ${url}`,
    `  admin        ${adminUrl ?? 'off'}`,
    ...children.map((child) => `  backend ${child.name}  ${child.url}  (pid ${child.pid})`),
    '',
    'Try in another terminal:',
    '',
    '  The backends take turns:',
    `    curl -s ${url}/hello; curl -s ${url}/hello`,
    '',
    '  An answer comes through as the backend gave it, an event stream event by event:',
    `    curl -i ${url}/status/404`,
    `    curl -N ${url}/stream`,
    '',
    `  One backend fails: its circuit opens and the other one serves, until trials go well after ${openMs / 1000} s:`,
    `    curl -s -X POST '${first.url}/fail?on=1'`,
    `    ${count(20)}`,
    ...(adminUrl ? [`    curl -s ${adminUrl}/status`] : []),
    `    curl -s -X POST '${first.url}/fail?on=0'`,
    '',
    '  One backend dies: no request fails:',
    `    kill ${first.pid}`,
    `    ${count(20)}`,
    '',
    `  More than ${limit} requests in ${windowMs / 1000} s from one address get 429 until the window is over:`,
    `    ${count(limit + 20)}`,
    '',
    'Ctrl-C ends it all.',
    '',
  ];
  return `${lines.join('\n')}\n`;
}
