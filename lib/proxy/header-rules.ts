import type { Exchange } from '../core/exchange.ts';
import { canonical, HeaderNames, headerName } from '../core/header-names.ts';
import { CONNECTION_HEADERS, headerValues } from '../core/header-values.ts';
import { type Check, described, group, listOf, optional } from '../core/options.ts';
import { NEVER_FORWARDED } from './request/end-to-end-headers.ts';

/**
 * Changes of headers. In values, `{clientAddress}`, `{consumer}`, `{plan}`, `{route}`, `{service}`, `{host}`, `{scheme}` and `{requestId}`
 * stand for facts of the request; a fact that is not known is an empty text. Headers about the connection and the framing of the message (`Host`,
 * `Connection`, `Content-Length` and the like) are refused.
 */
export interface HeaderRules {
  /** Headers to set. Each replaces all headers of the same name. Default: none. */
  set?: Readonly<Record<string, string>>;
  /** Headers to add beside those of the same name. Default: none. */
  add?: Readonly<Record<string, string>>;
  /** Names of headers to remove, before `set` and `add` apply. Default: none. */
  remove?: readonly string[];
}

/** The gateway writes them itself. */
const WRITTEN_HERE = [...CONNECTION_HEADERS, 'host'];
/** Headers that changes of a response cannot set. */
export const OF_RESPONSES: ReadonlySet<string> = new Set([...WRITTEN_HERE, 'keep-alive', 'te', 'trailer']);
const OF_REQUESTS = new Set([...WRITTEN_HERE, ...NEVER_FORWARDED]);

export const responseHeaders: Check = headerValues(OF_RESPONSES);

export const headerRules: Check = group<HeaderRules, HeaderRules>(
  {},
  {
    set: optional(responseHeaders),
    add: optional(responseHeaders),
    remove: optional(listOf('header', headerName)),
  },
);

const requestValues = headerValues(OF_REQUESTS, ': the proxy writes it itself, or never forwards it');

/** A backend would not understand the request without these headers, so a rule cannot remove them. */
const NEEDED = new Set(WRITTEN_HERE);

const removable: Check = described(
  (value) =>
    typeof value === 'string' && NEEDED.has(canonical(value))
      ? `must be a header that can be removed: the proxy writes ${value} itself${canonical(value) === 'host' ? ' (see changeOrigin)' : ''}`
      : headerName(value),
  headerName.schema ?? {},
);

/** The same for requests. What the rules cannot change is refused: the framing, and headers that are never forwarded. */
export const requestRules: Check = group<HeaderRules, HeaderRules>(
  {},
  {
    set: optional(requestValues),
    add: optional(requestValues),
    remove: optional(listOf('header', removable)),
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

/** Changes the headers that a backend gets: names and values in turn. */
export type HeaderChange = (fields: string[], exchange: Exchange) => void;

/**
 * Makes the change that rules ask for. A header that a rule sets or removes goes in every spelling that applications may take for it, as with headers that
 * a middleware writes.
 *
 * @param service The service that will get the request, if the exchange does not know it.
 */
export function requestHeaderRules({ set, add, remove = [] }: HeaderRules, service?: string): HeaderChange {
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
  const names = new HeaderNames([]);
  const gone = new Set([...remove.map((name) => name.toLowerCase()), ...setters.map(([name]) => canonical(name))]);
  return (fields, exchange) => {
    if (gone.size > 0) {
      keep(fields, (name) => {
        const { lowerCase, canonical: plain } = names.of(name);
        return !gone.has(lowerCase) && !gone.has(plain);
      });
    }
    for (const [name, value] of setters) fields.push(name, value(exchange));
    for (const [name, value] of adders) addTo(fields, name, value(exchange), names);
  };
}

/** Adds a value to the last header of the same name, and drops what only looks like that header. */
function addTo(fields: string[], name: string, value: string, names: HeaderNames): void {
  const plain = canonical(name);
  keep(fields, (one) => names.of(one).canonical !== plain || names.of(one).lowerCase === name);
  const at = fields.findLastIndex((one, index) => index % 2 === 0 && names.of(one).lowerCase === name);
  // RFC 6265 §4.2.1: cookies have a separator of their own.
  if (at === -1) fields.push(name, value);
  else fields[at + 1] += (name === 'cookie' ? '; ' : ', ') + value;
}

/** Keeps the headers whose names pass the test, in their order. */
function keep(fields: string[], test: (name: string) => boolean): void {
  let length = 0;
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i] as string;
    if (!test(name)) continue;
    fields[length] = name;
    fields[length + 1] = fields[i + 1] as string;
    length += 2;
  }
  fields.length = length;
}
