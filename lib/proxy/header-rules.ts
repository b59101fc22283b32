import type { IncomingMessage } from 'node:http';
import type { Exchange } from '../core/exchange.ts';
import { headerName } from '../core/header-names.ts';
import { TOKEN } from '../core/http.ts';
import { type Check, described, group, isPlainObject, listOf, optional } from '../core/options.ts';

/**
 * Changes of headers. In values, `{clientAddress}`, `{consumer}`, `{plan}`, `{route}`, `{service}`, `{host}`, `{scheme}` and `{requestId}`
 * stand for facts of the request; a fact that is not known is an empty text.
 */
export interface HeaderRules {
  /** Headers to set. Each replaces all headers of the same name. Default: none. */
  set?: Readonly<Record<string, string>>;
  /** Headers to add beside those of the same name. Default: none. */
  add?: Readonly<Record<string, string>>;
  /** Names of headers to remove, before `set` and `add` apply. Default: none. */
  remove?: readonly string[];
}

const VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;

/** Whether a value can be sent (RFC 9110 §5.5). */
export const isHeaderValue = (value: unknown): boolean => typeof value === 'string' && VALUE.test(value);

/** Headers about the framing of the message, or about the client: the gateway writes them itself. */
const OURS = new Set([
  'connection',
  'content-length',
  'host',
  'keep-alive',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

/** An object of headers that can be set, each with its value. */
export const headerValues: Check = described(
  (value) => {
    if (!isPlainObject(value)) return 'must be an object: a value for each header';
    return Object.entries(value).flatMap(([name, one]) =>
      !TOKEN.test(name) || OURS.has(name.toLowerCase())
        ? [{ path: [name], text: `"${name}" is not a header that can be set` }]
        : !isHeaderValue(one)
          ? [{ path: [name], text: `"${name}" must have a text without control characters` }]
          : [],
    );
  },
  { type: 'object', additionalProperties: { type: 'string' } },
);

export const headerRules: Check = group<HeaderRules, HeaderRules>(
  {},
  {
    set: optional(headerValues),
    add: optional(headerValues),
    remove: optional(listOf('header', headerName)),
  },
);

/** Makes the value of a header from the facts of an exchange. */
export type Template = (exchange: Exchange) => string;

const FACTS: ReadonlyMap<string, Template> = new Map<string, Template>([
  ['clientAddress', ({ clientAddress }) => clientAddress ?? ''],
  ['consumer', ({ consumer }) => consumer?.name ?? ''],
  ['plan', ({ consumer }) => consumer?.plan ?? ''],
  ['route', ({ route }) => route ?? ''],
  ['service', ({ service }) => service ?? ''],
  ['host', ({ req }) => req.headers.host ?? ''],
  ['scheme', ({ scheme }) => scheme],
  ['requestId', ({ res }) => String(res.getHeader('x-request-id') ?? '')],
]);

const FACT = /\{(\w+)\}/g;

function template(value: string): Template {
  if (!value.includes('{')) return () => value;
  return (exchange) => value.replaceAll(FACT, (whole, name: string) => sendable(FACTS.get(name)?.(exchange) ?? whole));
}

/** Encodes a fact, such as the name of a consumer, because it may have characters that are invalid in a header. */
const sendable = (fact: string): string =>
  // Half a surrogate pair, which JSON can hold, cannot be encoded.
  fact.toWellFormed().replaceAll(/[^\t\x20-\x7e]/gu, (one) => encodeURIComponent(one));

/** Names in lower case, each with its value. */
export const templates = (
  values: Readonly<Record<string, string>> = {},
): (readonly [name: string, value: Template])[] =>
  Object.entries(values).map(([name, value]) => [name.toLowerCase(), template(value)]);

/** Names of facts in values that do not exist, most likely because they are misspelt. */
export function unknownFacts({ set = {}, add = {} }: HeaderRules): string[] {
  return [...Object.values(set), ...Object.values(add)]
    .flatMap((value) => [...value.matchAll(FACT)].map(([, name]) => name as string))
    .filter((name) => !FACTS.has(name));
}

/**
 * Applies rules to the headers of a request.
 *
 * @param service The service that will get the request, if the exchange does not know it.
 */
export function requestHeaderRules(
  { set, add, remove = [] }: HeaderRules,
  service?: string,
): (exchange: Exchange) => void {
  const removed = remove.map((name) => name.toLowerCase());
  const [setters, adders] = [set, add].map((values = {}) =>
    templates(
      Object.fromEntries(
        Object.entries(values).map(([name, value]) => [
          name,
          service === undefined ? value : value.replaceAll('{service}', () => sendable(service)),
        ]),
      ),
    ),
  ) as [ReturnType<typeof templates>, ReturnType<typeof templates>];
  return (exchange) => {
    const { headers }: IncomingMessage = exchange.req;
    for (const name of removed) delete headers[name];
    for (const [name, value] of setters) headers[name] = value(exchange);
    for (const [name, value] of adders) {
      // RFC 6265 §4.2.1: cookies have a separator of their own.
      headers[name] = [headers[name] ?? [], value(exchange)].flat().join(name === 'cookie' ? '; ' : ', ');
    }
  };
}
