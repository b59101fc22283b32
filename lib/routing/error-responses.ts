import { readFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { CAUSES } from '../core/causes.ts';
import { type Exchange, exchangeOf } from '../core/exchange.ts';
import { type Middleware, type Next, notPromise } from '../core/http.ts';
import {
  type Check,
  type Checks,
  func,
  group,
  isPlainObject,
  nonEmptyString,
  OptionsError,
  optional,
  resolveOptions,
} from '../core/options.ts';
import type { ErrorBody } from '../core/problem.ts';
import { readFailure } from '../core/read-failure.ts';
import { shownValue } from '../core/shown-value.ts';
import { warnOfThrow } from '../core/warnings.ts';
import { either, isText } from './check-forms.ts';

/** Facts for an error page. */
export interface ErrorFacts {
  readonly status: number;
  readonly title: string;
  /** Name of the cause, such as `no_backend`. `docs/errors.md` lists all causes. */
  readonly cause: string;
  /** One more sentence about the cause, for people; may be empty. */
  readonly detail: string;
  /** `X-Request-Id` of the response; empty without `observability()`. */
  readonly requestId: string;
}

/** Makes the HTML of a page. The facts are text: escape them. */
export type ErrorPage = (facts: ErrorFacts) => string;

/** Makes the JSON of a response: any value that `JSON.stringify()` takes. */
export type ErrorJson = (facts: ErrorFacts) => unknown;

/** Format of the gateway's own responses, such as 404, 429 and 503. Responses of backends stay as they are. */
export interface ErrorResponseOptions {
  /**
   * Makes the JSON (`application/json`) for clients that prefer neither HTML nor plain text, in place of the problem document, such as
   * `({ cause, title }) => ({ error: { code: cause, message: title } })`. Default: the problem document.
   */
  json?: ErrorJson;
  /**
   * Page for clients that prefer HTML, such as browsers. Either a function, or the path of a file in which `{{status}}`, `{{title}}`, `{{cause}}`,
   * `{{detail}}` and `{{requestId}}` stand for the facts. Default: a plain page with the status, the title and the request id.
   */
  html?: string | ErrorPage;
  /** Other pages by status or cause, such as `{ 404: 'missing.html', no_backend: 'maintenance.html' }`; a cause goes before its status. Default: none. */
  pages?: Readonly<Record<string, string | ErrorPage>>;
}

const page = either('a path or a function', [
  [isText, nonEmptyString],
  [(value) => typeof value === 'function', func],
]);

const STATUSES = new Set(Object.values(CAUSES).map(({ status }) => String(status)));

const pages: Check = Object.assign(
  (value: unknown) => {
    if (!isPlainObject(value)) return 'must be an object: a page for each status or cause';
    return Object.entries(value).flatMap(([name, one]) => {
      if (!STATUSES.has(name) && !Object.hasOwn(CAUSES, name)) {
        return [{ path: [name], text: `"${name}" must be a status or a cause of the gateway's own responses` }];
      }
      const problem = page(one);
      return problem === undefined ? [] : [{ path: [name], text: `"${name}" ${String(problem)}` }];
    });
  },
  { schema: { type: 'object', additionalProperties: { type: 'string' } } },
);

const checks: Checks<ErrorResponseOptions> = { json: optional(func), html: optional(page), pages: optional(pages) };

/** Checks of {@link ErrorResponseOptions}. */
export const errorResponseCheck: Check = group<ErrorResponseOptions, object>({}, checks);

/** Browsers send less than 200 characters. The time that Express takes for an `Accept` grows with its length. */
const LONGEST_ACCEPT = 1_024;

/**
 * Writes the gateway's own responses as the client prefers them: as a problem document (RFC 9457), as HTML or as plain text.
 *
 * @param subject The option or function that the app gave the pages to.
 * @throws {OptionsError} for a file that cannot be read.
 */
export function errorBodies(
  { json, html, pages: others = {} }: ErrorResponseOptions,
  subject = 'errors',
): NonNullable<Exchange['errorBody']> {
  const pageAt = (place: string, given: string | ErrorPage) => pageOf(subject, place, given);
  const standard = html === undefined ? PLAIN_PAGE : pageAt('html', html);
  const special = new Map(Object.entries(others).map(([name, one]) => [name, pageAt(`pages.${name}`, one)]));
  return (exchange, cause, detail = '') => {
    const type = preferredType(exchange.req);
    if (type === undefined && json === undefined) return undefined;
    const { status, title } = CAUSES[cause];
    const facts = { status, title, cause, detail, requestId: String(exchange.res.getHeader('x-request-id') ?? '') };
    if (type === 'text/plain') return { type: 'text/plain; charset=utf-8', content: plainText(facts) };
    if (type === 'text/html') {
      const render = special.get(cause) ?? special.get(String(status)) ?? standard;
      return made(render, 'text/html; charset=utf-8', () => String(notPromise(render(facts), 'the function')));
    }
    return json && made(json, 'application/json', () => jsonText(notPromise(json(facts), 'the function')));
  };
}

/** The type that the client prefers, if that is not JSON. */
function preferredType(req: Exchange['req']): 'text/html' | 'text/plain' | undefined {
  // A client over its limit must not cost much.
  if ((req.headers.accept?.length ?? 0) > LONGEST_ACCEPT) return undefined;
  const type = req.accepts?.(['application/problem+json', 'application/json', 'text/html', 'text/plain']);
  return type === 'text/html' || type === 'text/plain' ? type : undefined;
}

function jsonText(value: unknown): string {
  const text: string | undefined = JSON.stringify(value);
  if (text === undefined) throw new TypeError('JSON has no such value');
  return text;
}

/** @returns `undefined` if a function of the app throws: a format that fails must not hide the error, so the client gets the problem document. */
function made(by: object, type: string, make: () => string): ErrorBody | undefined {
  try {
    return { type, content: make() };
  } catch (error) {
    warnOfThrow(
      by,
      'WARN_EXPRESSWAY_ERROR_PAGE',
      'A function for error pages threw, and the client got a problem document',
      error,
    );
    return undefined;
  }
}

/**
 * Gives the gateway's own responses, such as 429, 502 and 503, the format of your app. Mount it before all other middlewares:
 *
 * ```ts
 * app.use(errorResponses({ json: ({ cause, title }) => ({ error: { code: cause, message: title } }) }));
 * ```
 *
 * Status, `Retry-After` and the other headers stay. Responses of backends, and of your own handlers, stay as they are. The option `errors`
 * of `serviceRouter()` replaces it for that router.
 *
 * @throws {OptionsError} that names each unknown key and each bad value.
 */
export function errorResponses(given?: ErrorResponseOptions): Middleware {
  const options = resolveOptions<ErrorResponseOptions, object>('errorResponses', given, {}, checks);
  const errorBody = errorBodies(options, 'errorResponses');
  return function expresswayErrorResponses(req: IncomingMessage, res: ServerResponse, next: Next): void {
    exchangeOf(req, res).errorBody = errorBody;
    next();
  };
}

function pageOf(subject: string, name: string, given: string | ErrorPage): ErrorPage {
  if (typeof given === 'function') return given;
  let text: string;
  try {
    text = readFileSync(given, 'utf8');
  } catch (error) {
    const text = `${name} ${shownValue(given)} cannot be read: ${readFailure(error as Error)}`;
    throw new OptionsError(subject, [{ path: name.split('.'), text }]);
  }
  return (facts) =>
    text.replaceAll(/\{\{(\w+)\}\}/g, (whole, name: string) =>
      Object.hasOwn(facts, name) ? escaped(String(facts[name as keyof ErrorFacts])) : whole,
    );
}

const plainText = ({ status, title, detail, requestId }: ErrorFacts): string =>
  [`${status} ${title}`, detail, requestId && `Request id: ${requestId}`].map((line) => line && `${line}\n`).join('');

const PLAIN_PAGE: ErrorPage = (facts) => {
  const { status, title, detail, requestId } = facts;
  const lines = [detail, requestId === '' ? '' : `Request id: ${requestId}`].filter((line) => line !== '');
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${status} ${escaped(title)}</title>
<style>
  :root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif }
  main { max-width: 36rem; margin: 15vh auto; padding: 0 1rem }
  p { overflow-wrap: anywhere }
</style>
<main>
<h1>${status} ${escaped(title)}</h1>
${lines.map((line) => `<p>${escaped(line)}</p>`).join('\n')}
</main>
</html>
`;
};

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

const escaped = (text: string): string => text.replaceAll(/[&<>"']/g, (one) => ENTITIES[one] as string);
