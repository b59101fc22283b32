import type { Exchange } from './exchange.ts';

/** Facts about a request that the gateway itself finds out, from the connection or from the headers that it trusts. */
type Fact = 'address' | 'scheme' | 'tls' | 'port';

/**
 * Other names for these facts. Many proxies pass on what a client sends under them. So a value never reaches a backend as it came: a trusted peer's is
 * replaced by the fact.
 */
const FACTS: ReadonlyMap<string, Fact> = new Map<string, Fact>([
  ['x-real-ip', 'address'],
  ['x-client-ip', 'address'],
  ['client-ip', 'address'],
  ['x-cluster-client-ip', 'address'],
  ['x-scheme', 'scheme'],
  ['x-url-scheme', 'scheme'],
  ['x-forwarded-scheme', 'scheme'],
  ['x-forwarded-protocol', 'scheme'],
  ['x-forwarded-ssl', 'tls'],
  ['front-end-https', 'tls'],
  ['x-forwarded-port', 'port'],
]);

/** Headers that name another URL, host or client than the gateway acts on. No proxy in common use sets them for a backend, and all pass them on. */
const CLAIMS = [
  'x-host',
  'x-http-host-override',
  'x-http-destinationurl',
  'x-rewrite-url',
  'x-original-url',
  'x-original-uri',
  'x-original-method',
  'x-forwarded-server',
  'x-forwarder-for',
  'x-coming-from',
  'x-custom-ip-authorization',
  'x-remote-ip',
  'x-remote-addr',
  'x-originating-ip',
];

/** Headers of which even a trusted peer's value is not passed on, in canonical spelling. Only the gateway and the app may write them. */
export const UNPROVEN: readonly string[] = [...FACTS.keys(), ...CLAIMS, 'forwarded'];

/**
 * The facts for the headers in which a trusted peer sends them too.
 *
 * @param address Of the client, as a header may have it.
 * @param isXForwarded Whether `X-Forwarded-*` tells about the client; otherwise none of that family is passed on.
 */
export function peerFacts(
  exchange: Exchange,
  address: string | undefined,
  host: string | undefined,
  isXForwarded: boolean,
): [name: string, value: string][] {
  const { headers } = exchange.req;
  const facts: [string, string][] = [];
  for (const [name, fact] of FACTS) {
    if (headers[name] === undefined || (!isXForwarded && name.startsWith('x-forwarded-'))) continue;
    const value = fact === 'address' ? address : factOf(fact, exchange, host);
    if (value !== undefined) facts.push([name, value]);
  }
  return facts;
}

function factOf(fact: Exclude<Fact, 'address'>, exchange: Exchange, host: string | undefined): string {
  switch (fact) {
    case 'scheme':
      return exchange.scheme;
    case 'tls':
      return exchange.isSecure ? 'on' : 'off';
    case 'port':
      return /:(\d+)$/.exec(exchange.forwardedHost || host || '')?.[1] ?? (exchange.isSecure ? '443' : '80');
  }
}
