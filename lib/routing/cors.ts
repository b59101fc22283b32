import { createRequire } from 'node:module';
import type { CorsOptions as PackageOptions } from 'cors';
import { GatewayError } from '../core/errors.ts';
import { exchangeOf } from '../core/exchange.ts';
import { type Middleware, TOKEN } from '../core/http.ts';
import { boolean, type Check, described, group, listOf, optional, optionalDurationMs, text } from '../core/options.ts';
import { leaveUnread } from '../core/unread-content.ts';
import { either, isList, isText } from './check-forms.ts';

/** Web pages of other origins that may use a route (CORS). The gateway responds to preflight requests itself. */
export interface CorsOptions {
  /** Allowed origins, such as `https://app.example`, or `*` for all. */
  origin: string | readonly string[];
  /** Allowed methods. Default: those of the route, else GET, HEAD, PUT, PATCH, POST and DELETE. */
  methods?: readonly string[];
  /** Allowed request headers. Default: all that the preflight request asks for. */
  allowedHeaders?: readonly string[];
  /** Additional response headers that scripts may read. Default: none. */
  exposedHeaders?: readonly string[];
  /** Whether browsers may send cookies and other credentials. Not allowed with the origin `*`. Default false. */
  credentials?: boolean;
  /** Milliseconds, in whole seconds, for which a browser may keep a preflight response. Default: the browser decides. */
  maxAgeMs?: number;
}

const isOrigin = (value: string): boolean =>
  value === '*' || (URL.canParse(value) && new URL(value).origin === value.toLowerCase());

const origin: Check = described(
  (value) =>
    typeof value === 'string' && isOrigin(value)
      ? undefined
      : 'must be *, or a scheme and a host such as https://app.example',
  { type: 'string' },
);

const names = (what: string): Check => optional(listOf(what, text(TOKEN, `must be the name of a ${what}`), 1));

/** Checks of {@link CorsOptions}. */
export const corsCheck: Check = group<CorsOptions, object>(
  {},
  {
    origin: either('an origin or a list of origins', [
      [isText, origin],
      [isList, listOf('origin', origin, 1)],
    ]),
    methods: names('method'),
    allowedHeaders: names('header'),
    exposedHeaders: names('header'),
    credentials: optional(boolean),
    maxAgeMs: optional(optionalDurationMs),
  },
  { origins: 'use origin', maxAge: 'use maxAgeMs', headers: 'use allowedHeaders' },
  // Browsers reject this combination. Allowing each origin by name instead would give every web page the user's session.
  ({ origin: given, credentials }) =>
    credentials === true && [given].flat().includes('*') ? ['credentials must not be true for the origin *'] : [],
);

/** One middleware for preflight requests, and one for all others. */
export interface Cors {
  /** Responds to a preflight request. */
  readonly preflight: Middleware;
  /** Adds the CORS headers to the response to any other request. */
  readonly actual: Middleware;
}

/**
 * Loads the package `cors`.
 *
 * @throws {GatewayError} ERR_EXPRESSWAY_RUNTIME when the package is not installed.
 */
export function corsMiddleware(options: CorsOptions, routeMethods: readonly string[] | undefined): Cors {
  const origins = [options.origin].flat();
  const given: PackageOptions = {
    origin: origins.includes('*') ? '*' : origins.map((one) => one.toLowerCase()),
    credentials: options.credentials === true,
  };
  const methods = options.methods ?? routeMethods;
  if (methods !== undefined) given.methods = [...methods];
  if (options.allowedHeaders !== undefined) given.allowedHeaders = [...options.allowedHeaders];
  if (options.exposedHeaders !== undefined) given.exposedHeaders = [...options.exposedHeaders];
  if (options.maxAgeMs !== undefined) given.maxAge = Math.floor(options.maxAgeMs / 1_000);
  const cors = loadCors()(given) as Middleware;
  return {
    preflight(req, res, next) {
      leaveUnread(res);
      cors(req, res, next);
    },
    actual(req, res, next) {
      exchangeOf(req, res).ownsCors = true;
      // The package treats every OPTIONS request as a preflight request.
      const asked = req.method === 'OPTIONS' ? Object.create(req, { method: { value: 'GET' } }) : req;
      cors(asked, res, next);
    },
  };
}

function loadCors(): typeof import('cors') {
  try {
    return createRequire(import.meta.url)('cors');
  } catch (cause) {
    throw new GatewayError('ERR_EXPRESSWAY_RUNTIME', 'the option cors needs the package cors: npm install cors', {
      cause,
    });
  }
}

/** The method that a preflight request asks about; `undefined` for other requests. */
export function preflightMethod(
  method: string,
  headers: Readonly<Record<string, string | string[] | undefined>>,
): string | undefined {
  if (method !== 'OPTIONS' || headers.origin === undefined) return undefined;
  const asked = headers['access-control-request-method'];
  return typeof asked === 'string' ? asked : undefined;
}
