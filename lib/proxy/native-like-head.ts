import type { IncomingMessage } from 'node:http';
import type { Options } from 'http-proxy-middleware';
import { droppedFields, pushEndToEndFields } from './end-to-end-fields.ts';
import type { RequestHead } from './request-head.ts';

/** Options of http-proxy-middleware that its transport reads. */
export type NativeOptions = Omit<Options, 'pathFilter' | 'pathRewrite' | 'router' | 'on' | 'plugins' | 'logger'>;

type ProxyTarget = NonNullable<NativeOptions['target']>;
type TargetParts = Exclude<ProxyTarget, string | URL>;

/** A target that is nothing but a URL. */
export function plainTarget(target: ProxyTarget | undefined): URL | undefined {
  if (target instanceof URL) return target;
  if (typeof target === 'string') return URL.canParse(target) ? new URL(target) : undefined;
  return target === undefined ? undefined : fromParts(target);
}

/** http-proxy-middleware takes a URL with an IPv6 literal apart. */
function fromParts(parts: TargetParts): URL | undefined {
  const { hostname, port, protocol, pathname, host, ...rest } = parts;
  if (Object.values(rest).some((value) => value !== undefined && value !== '') || !(hostname ?? host)) return undefined;
  const name = hostname ?? host ?? '';
  const authority = name.includes(':') && !name.startsWith('[') && hostname !== undefined ? `[${name}]` : name;
  const text = `${protocol ?? 'http:'}//${authority}${port && hostname !== undefined ? `:${port}` : ''}${pathname ?? ''}`;
  return URL.canParse(text) ? new URL(text) : undefined;
}

/** What http-proxy-middleware's own transport would send, cleaned of what concerns only the client's connection. */
export function nativeLikeHead(req: IncomingMessage, target: URL, options: NativeOptions): RequestHead {
  const overrides = new Map(Object.entries(options.headers ?? {}).map(([name, value]) => [name.toLowerCase(), value]));
  if (options.changeOrigin && !overrides.has('host')) overrides.set('host', target.host);
  if (options.xfwd) addForwardedFields(overrides, req);
  const fields: string[] = [];
  pushEndToEndFields(fields, req, droppedFields(overrides.keys()));
  for (const [name, value] of overrides) fields.push(name, value);
  return { path: joinedPath(req, target, options), fields };
}

/** As the native `xfwd` does it: what the client sent under these names stays. */
function addForwardedFields(fields: Map<string, string>, req: IncomingMessage): void {
  const encrypted = (req.socket as { encrypted?: boolean }).encrypted === true;
  const host = req.headers.host ?? '';
  const values: Record<string, string | undefined> = {
    'x-forwarded-for': req.socket.remoteAddress,
    'x-forwarded-port': /:(\d+)$/.exec(host)?.[1] ?? (encrypted ? '443' : '80'),
    'x-forwarded-proto': encrypted ? 'https' : 'http',
    'x-forwarded-host': host,
  };
  for (const [name, value] of Object.entries(values)) {
    if (value !== undefined && req.headers[name] === undefined && !fields.has(name)) fields.set(name, value);
  }
}

function joinedPath(req: IncomingMessage, target: URL, options: NativeOptions): string {
  const own = options.ignorePath ? '' : (req.url ?? '');
  const base = target.pathname === '/' ? '' : target.pathname.replace(/\/$/, '');
  const path = own === '' || own === '/' ? target.pathname : `${base}${own.startsWith('/') ? '' : '/'}${own}`;
  if (target.search === '') return path;
  return path.includes('?') ? path.replace('?', () => `${target.search}&`) : `${path}${target.search}`;
}
