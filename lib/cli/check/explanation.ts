import { takeParameter } from '../../auth/api-key-auth.ts';
import { isAuthority } from '../../core/authority.ts';
import { hostnameOf } from '../../core/http.ts';
import { METHODS } from '../../core/node-http.ts';
import { readConfig } from '../../gateway/config/config.ts';
import type { Authenticator, Declaration, RouteLimit, RouteOptions, ServiceOptions } from '../../index.ts';
import { normalTarget, targetFault } from '../../ingress/request-target.ts';
import { roundRobinProxyDefaults } from '../../proxy/round-robin-proxy-options.ts';
import { preflightMethod } from '../../routing/cors.ts';
import { rewriteTarget, splitTarget } from '../../routing/rewrite.ts';
import { comparableHostname, prefixOf } from '../../routing/route-match.ts';
import { routeName, serviceNames } from '../../routing/route-options.ts';
import { oneLine } from '../terminal.ts';
import { goal, routesInOrder } from './routes-table.ts';

/** A request that is only explained, not sent. */
export interface SampleRequest {
  readonly method: string;
  readonly scheme: string;
  /** The `Host` header; empty for none. */
  readonly host: string;
  /** Path and query. */
  readonly target: string;
  /** Values by name, in lower case. */
  readonly headers: Readonly<Record<string, string>>;
}

type Line = readonly [label: string, text: string];

const NOT_ALLOWED: Line = ['rejected', '405 method_not_allowed: TRACE and CONNECT are never forwarded'];

/** Explains what would happen to a request. */
export function explained(declaration: Declaration, request: SampleRequest, env: NodeJS.ProcessEnv) {
  const { method, scheme, host, target, headers } = request;
  const { ambiguousPaths = 'reject', mergeSlashes = true } = declaration;
  const heading = `${method} ${host === '' ? '' : `${scheme}://${host}`}${target}`;
  // Node's parser rejects it before any route.
  if (!METHODS.includes(method)) {
    return written(heading, [['rejected', '501 not_implemented: Node does not know this method']], [], false);
  }
  // hardenServer() does it on the connection.
  if (method === 'CONNECT') return written(heading, [NOT_ALLOWED], [], false);
  // Clients send other characters in punycode.
  if (/^[ -~]+$/.test(host) && !isAuthority(host)) {
    return written(heading, [['rejected', '400 bad_request: The field Host is not valid.']], [], false);
  }
  const fault = targetFault(method, target);
  const passes =
    fault?.ambiguous !== undefined &&
    (ambiguousPaths === 'pass' || (ambiguousPaths === 'reject' && fault.ambiguous === 'encoded-slash'));
  if (fault !== undefined && !passes) {
    return written(heading, [['rejected', `400 ${fault.cause}: ${fault.detail}`]], [], false);
  }
  const normal = normalTarget(target, mergeSlashes);
  const { path, query } = splitTarget(normal);
  const hostname = comparableHostname(hostnameOf(host)) || hostnameOf(host);
  const routes = routesInOrder(declaration);
  const judgedBy = (asked: string) =>
    routes.map(({ route, conditions }) => ({
      route,
      unmet: conditions.unmet({ hostname, path, search: query.slice(1), method: asked, headers }),
    }));
  const takenOf = (judged: ReturnType<typeof judgedBy>) => judged.find(({ unmet }) => unmet.length === 0)?.route;
  const asked = preflightMethod(method, headers);
  const forPreflight = asked === undefined ? [] : judgedBy(asked);
  // As in the router: a route with `cors` matches the preflight requests for its own requests.
  const isPreflight = takenOf(forPreflight)?.cors !== undefined;
  const judged = isPreflight ? forPreflight : judgedBy(method);
  const taken = takenOf(judged);
  const others = judged
    .filter(({ route }) => route !== taken)
    .map(({ route, unmet }): Line => [routeName(route), unmet.join('; ') || 'fits, but is less specific']);
  if (taken === undefined) {
    return written(heading, [...globalLimit(env), ['no route', '404 no_route']], others, false);
  }
  const lines: Line[] = [['route', routeName(taken)], ...globalLimit(env)];
  if (isPreflight) {
    lines.push(...addressLines(taken), ['cors', 'the gateway responds to this preflight request']);
  } else {
    lines.push(...mustPass(taken, declaration));
    // The proxy does it, after all other steps.
    if (method === 'TRACE' && serviceNames(taken).length > 0) {
      return written(heading, [...lines, NOT_ALLOWED], others, false);
    }
    lines.push(...forwarding(taken, declaration, request, normal));
  }
  return written(heading, lines, others, true);
}

function written(heading: string, lines: readonly Line[], others: readonly Line[], isTaken: boolean) {
  const block = (all: readonly Line[]): string => {
    const width = Math.max(...all.map(([label]) => label.length));
    return all.map(([label, text]) => `  ${oneLine(`${label.padEnd(width)}  ${text}`).trimEnd()}\n`).join('');
  };
  const rest = others.length === 0 ? '' : `\nother routes\n${block(others)}`;
  return { text: `${oneLine(heading)}\n\n${block(lines)}${rest}`, isTaken };
}

/** The limit of all requests is not in the file. */
function globalLimit(env: NodeJS.ProcessEnv): Line[] {
  const given = Object.entries(env).filter(([name]) => name.startsWith('RATE_LIMIT'));
  const { isRateLimited, rateLimit } = readConfig({ ...Object.fromEntries(given), GATEWAY_CONFIG: 'this one' });
  if (!isRateLimited) return [];
  const windows = `${rateLimit.limit} in ${rateLimit.windowMs} ms`;
  return [['limit', `${windows} for each client address, all requests (RATE_LIMIT_*)`]];
}

/** The checks that the request must pass, in order. */
function mustPass(route: RouteOptions, { rateLimits = {}, authentication = {} }: Declaration): Line[] {
  const { circuit, cors, maxInFlight = 0, maxInFlightPerClient = 0 } = route;
  const limits = [route.rateLimit ?? []].flat().map((one) => {
    if (typeof one !== 'string') return limitLine(one);
    const shared = Object.hasOwn(rateLimits, one) ? rateLimits[one] : undefined;
    return shared === undefined ? limitLine({ limit: one }) : limitLine(shared, ` (rateLimits.${one})`);
  });
  const lines = addressLines(route);
  if (cors !== undefined) lines.push(['cors', 'preflight requests are answered']);
  lines.push(...limits.filter(({ isEarly }) => isEarly).map(({ line }) => line));
  if (route.authentication !== undefined) {
    const given = route.authentication;
    const [name, one] = typeof given === 'string' ? [` (authentication.${given})`, authentication[given]] : ['', given];
    lines.push(['authentication', `${Object.keys(one as Authenticator).join()}${name}`]);
  }
  lines.push(...limits.filter(({ isEarly }) => !isEarly).map(({ line }) => line));
  if (circuit !== undefined) lines.push(['circuit', 'of the route']);
  if (maxInFlight > 0) lines.push(['in progress', `at most ${maxInFlight}`]);
  if (maxInFlightPerClient > 0) lines.push(['in progress', `at most ${maxInFlightPerClient} for each client address`]);
  return lines;
}

function addressLines({ allow, deny }: RouteOptions): Line[] {
  const lines: Line[] = [];
  if (allow !== undefined) lines.push(['allow', allow.join(', ')]);
  if (deny !== undefined) lines.push(['deny', deny.join(', ')]);
  return lines;
}

function limitLine({ limit, key = 'address', plans = {} }: RouteLimit, name = ''): { line: Line; isEarly: boolean } {
  const who =
    key === 'address'
      ? 'client address'
      : typeof key === 'string'
        ? key
        : 'header' in key
          ? `value of the header ${key.header}`
          : `value of the claim ${key.claim}`;
  const byPlan = Object.entries(plans).map(([plan, own]) => `, plan ${plan}: ${own}`);
  const isEarly = key === 'address' && byPlan.length === 0;
  return { line: ['limit', `${limit} for each ${who}${byPlan.join('')}${name}`], isEarly };
}

/** What the backend gets, and the timeouts. */
function forwarding(
  route: RouteOptions,
  { services, authentication = {} }: Declaration,
  { host, target: sent }: SampleRequest,
  target: string,
): Line[] {
  const names = serviceNames(route);
  if (names.length === 0) return [['response', goal(route)]];
  const { rewrite } = route;
  const prefix = prefixOf(route);
  const { apiKey } =
    (typeof route.authentication === 'string' ? authentication[route.authentication] : route.authentication) ?? {};
  const received = { url: target };
  if (apiKey?.query !== undefined) takeParameter(received, apiKey.query);
  const forwarded = rewrite === undefined ? received.url : rewriteTarget(received.url, prefix, rewrite);
  const lines: Line[] = [];
  for (const name of names) {
    const { changeOrigin, backends } = services[name] as ServiceOptions;
    const urls = backends.map((one) => (typeof one === 'string' ? one : one.url));
    lines.push([
      'service',
      `${goal(route) === name ? name : `${name} (by weight: ${goal(route)})`}: ${urls.join(', ')}`,
    ]);
    lines.push(['host', rewrite?.hostname ?? (changeOrigin ? 'that of the backend' : host || 'as it came')]);
  }
  if (route.mirror !== undefined) {
    const { service, percent = 100 } = route.mirror;
    lines.push(['mirror', `${percent === 100 ? 'a copy' : `of ${percent} % a copy`} to ${service}`]);
  }
  lines.push(['path', forwarded === sent ? `${sent} (as it came)` : forwarded]);
  const removed = rewrite?.prefix === '/' && prefix !== '' ? [`x-forwarded-prefix: ${prefix}`] : [];
  const all = [route.requestHeaders, ...names.map((name) => services[name]?.requestHeaders)].filter(
    (one) => one !== undefined,
  );
  // Values may be secrets.
  const changes = [
    ...removed,
    ...all.flatMap(({ set = {}, add = {}, remove = [] }) => [
      ...remove.map((name) => `-${name}`),
      ...[...Object.keys(set), ...Object.keys(add)].map((name) => `+${name}`),
    ]),
  ];
  if (changes.length > 0) lines.push(['headers', changes.join(', ')]);
  for (const name of new Set(names)) lines.push(['timeouts', timeouts(route, services[name] as ServiceOptions)]);
  return lines;
}

function timeouts(route: RouteOptions, service: ServiceOptions): string {
  const of = (name: 'connectTimeoutMs' | 'responseTimeoutMs' | 'idleTimeoutMs') =>
    (name === 'connectTimeoutMs' ? undefined : route[name]) ?? service[name] ?? roundRobinProxyDefaults[name];
  const whole = route.requestTimeoutMs === undefined ? '' : `whole request ${route.requestTimeoutMs} ms, `;
  const connect = `${whole}connect ${of('connectTimeoutMs')} ms`;
  if (route.stream === true) return `${connect}, no others (stream)`;
  return `${connect}, response ${of('responseTimeoutMs')} ms, idle ${of('idleTimeoutMs')} ms`;
}
