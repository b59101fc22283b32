import type { IncomingMessage } from 'node:http';
import type { Options } from 'http-proxy-middleware';
import { isSecure, schemeOf } from '../../core/connection.ts';
import { canonical, HeaderNames } from '../../core/header-names.ts';
import { validateHeaderName, validateHeaderValue } from '../../core/node-http.ts';
import { NEVER_FORWARDED, pushEndToEndHeaders, pushFraming } from '../request/end-to-end-headers.ts';
import { isHopByHop } from '../request/hop-by-hop.ts';
import type { RequestHead } from '../request/request-head.ts';

/** Options of http-proxy-middleware that its transport reads. */
export type NativeOptions = Omit<Options, 'pathFilter' | 'pathRewrite' | 'router' | 'on' | 'plugins' | 'logger'>;

type GivenTarget = NonNullable<NativeOptions['target']>;
type TargetParts = Exclude<GivenTarget, string | URL>;

/** A target, as the native transport reads it. */
export interface Target {
  /** The target for listeners of `error`. */
  readonly given: URL | TargetParts;
  readonly origin: string;
  /** `Host` under `changeOrigin`. */
  readonly authority: string;
  readonly path: string;
  readonly query: string;
}

/** Schemes of targets, and whether the native transport uses TLS for them. */
const USES_TLS: Readonly<Record<string, boolean>> = { http: false, ws: false, https: true, wss: true };

/** Parts of a target that only the native transport can use. */
const NATIVE_PARTS = [
  'socketPath',
  'pfx',
  'key',
  'passphrase',
  'cert',
  'ca',
  'ciphers',
  'secureProtocol',
] as const satisfies readonly (keyof TargetParts)[];

/** Gives `undefined` for a target that only the native transport can use, and for one that it would reject. */
function readTarget(given: GivenTarget | undefined): Target | undefined {
  const target = typeof given === 'string' ? parse(given) : given;
  if (target === undefined) return undefined;
  const query = target instanceof URL ? target.search : '';
  if (!(target instanceof URL) && NATIVE_PARTS.some((name) => target[name] !== undefined)) return undefined;
  const { protocol, hostname, host, pathname } = target;
  const usesTls = USES_TLS[(protocol ?? 'http').replace(/:$/, '')];
  // With both, the native transport connects to `hostname`. It takes a port in `host` alone for a part of the name.
  const name = hostname ?? host;
  if (usesTls === undefined || !name || (hostname === undefined && name.includes(':'))) return undefined;
  const port = target.port || (usesTls ? 443 : 80);
  const bracketed = name.includes(':') && !name.startsWith('[') ? `[${name}]` : name;
  if (pathname && !pathname.startsWith('/')) return undefined;
  const url = parse(`${usesTls ? 'https' : 'http'}://${bracketed}:${port}`);
  if (url === undefined) return undefined;
  const named = host ?? `${bracketed}:${port}`;
  const authority = named.includes(':') || !needsPort(protocol, usesTls, port) ? named : `${named}:${port}`;
  return { given: target, origin: url.origin, authority, path: pathname ?? '', query };
}

/** The same for one proxy. It remembers the last target, because most proxies have one target, as text, for all requests. */
export function targetReader(): (given: GivenTarget | undefined) => Target | undefined {
  let lastText: string | undefined;
  let last: Target | undefined;
  return (given) => {
    if (typeof given !== 'string') return readTarget(given);
    if (given !== lastText) last = readTarget(given);
    lastText = given;
    return last;
  };
}

function parse(text: string): URL | undefined {
  return URL.canParse(text) ? new URL(text) : undefined;
}

function needsPort(protocol: string | undefined, usesTls: boolean, port: number | string): boolean {
  return protocol === undefined || Number(port) !== (usesTls ? 443 : 80);
}

/** The native transport knows no identity headers. */
export const nativeNames = (): HeaderNames => new HeaderNames(NEVER_FORWARDED, () => false);

/**
 * The head that http-proxy-middleware's own transport would send, without the headers of the client's connection.
 *
 * @throws {TypeError} as the native transport does, for a header in `options.headers` that cannot be sent.
 */
export function nativeLikeHead(
  req: IncomingMessage,
  target: Target,
  options: NativeOptions,
  bodyLength: number,
  names: HeaderNames,
  isDecoded: boolean,
): RequestHead {
  const overrides = new Map<string, string | readonly string[]>();
  for (const [name, value] of Object.entries<unknown>(options.headers ?? {})) override(overrides, name, value);
  // In the native transport too, a `Host` in `options.headers` in any spelling but this one comes last.
  if (options.changeOrigin && !hasOtherwiseSpelled(options.headers, 'host')) overrides.set('host', target.authority);
  if (options.xfwd) addForwardedFields(overrides, req);
  const fields: string[] = [];
  pushFraming(fields, bodyLength);
  const written = new Set([...overrides.keys()].map(canonical));
  if (isDecoded) written.add('content-encoding');
  pushEndToEndHeaders(fields, req, { names, peerTrusted: true, keepsCase: false, written });
  for (const [name, value] of overrides) for (const line of [value].flat()) fields.push(name, line);
  return { path: joinedPath(req, target, options), fields };
}

function hasOtherwiseSpelled(headers: NativeOptions['headers'], name: string): boolean {
  return Object.keys(headers ?? {}).some((given) => given !== name && given.toLowerCase() === name);
}

/** Leaves out headers of the connection and of the framing: the transport writes those itself. */
function override(overrides: Map<string, string | readonly string[]>, name: string, value: unknown): void {
  const key = name.toLowerCase();
  if (isHopByHop(key) || key === 'content-length' || key === 'expect') return;
  validateHeaderName(name);
  for (const line of [value].flat()) validateHeaderValue(name, line as string);
  overrides.set(key, Array.isArray(value) ? value.map(String) : String(value));
}

/** Like the native `xfwd`: values that the client sent under these names stay. */
function addForwardedFields(fields: Map<string, string | readonly string[]>, req: IncomingMessage): void {
  const host = req.headers.host ?? '';
  const values: Record<string, string | undefined> = {
    'x-forwarded-for': req.socket.remoteAddress,
    'x-forwarded-port': /:(\d+)$/.exec(host)?.[1] ?? (isSecure(req.socket) ? '443' : '80'),
    'x-forwarded-proto': schemeOf(req.socket),
    'x-forwarded-host': host,
  };
  for (const [name, value] of Object.entries(values)) {
    if (value !== undefined && req.headers[name] === undefined && !fields.has(name)) fields.set(name, value);
  }
}

function joinedPath(req: IncomingMessage, { path: base, query }: Target, { ignorePath }: NativeOptions): string {
  const url = req.url ?? '';
  const own = url.startsWith('/') ? url : `/${url}`;
  const path = ignorePath ? base || '/' : join(base, own);
  if (query === '') return path;
  return path.includes('?') ? path.replace('?', () => `${query}&`) : path + query;
}

function join(base: string, path: string): string {
  if (base === '' || base === '/') return path;
  if (path === '/') return base;
  if (base.endsWith('/')) return base + path.slice(1);
  return base + path;
}
