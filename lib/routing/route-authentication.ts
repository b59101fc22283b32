import { type ApiKeyAuthOptions, apiKeyAuth, apiKeyAuthChecks, apiKeyAuthDefaults } from '../auth/api-key-auth.ts';
import type { AuthenticationMiddleware } from '../auth/authentication.ts';
import { type BasicAuthOptions, basicAuth, basicAuthChecks, basicAuthDefaults } from '../auth/basic-auth.ts';
import {
  type ClientCertAuthOptions,
  clientCertAuth,
  clientCertAuthChecks,
  clientCertAuthDefaults,
} from '../auth/client-cert-auth.ts';
import { type ForwardAuthOptions, forwardAuth, forwardAuthChecks, forwardAuthDefaults } from '../auth/forward-auth.ts';
import { type JwtAuthOptions, jwtAuth, jwtAuthChecks, jwtAuthDefaults, jwtKeysCheck } from '../auth/jwt-auth.ts';
import type { GatewayEvents } from '../core/gateway-events.ts';
import { type Check, type ForeignOptions, group, optional } from '../core/options.ts';
import { without } from './check-forms.ts';

/** How a request is authenticated. Give one of the members. */
export interface Authenticator {
  /** A JSON Web Token. */
  jwt?: JwtAuthOptions;
  /** An API key. */
  apiKey?: ApiKeyAuthOptions;
  /** A name and a password. */
  basic?: BasicAuthOptions;
  /** A client certificate that the server has verified. */
  clientCert?: Pick<ClientCertAuthOptions, 'headers'>;
  /** A service that decides about each request. */
  forwardAuth?: ForwardAuthOptions;
}

/** Names of the functions, and others, under which users may look for an authenticator. */
const FUNCTIONS: ForeignOptions = Object.freeze({
  jwtAuth: 'use jwt',
  apiKeyAuth: 'use apiKey',
  basicAuth: 'use basic',
  clientCertAuth: 'use clientCert',
  forward: 'use forwardAuth',
});

/** Checks of {@link Authenticator}. */
export const authenticatorCheck: Check = group<Authenticator, object>(
  {},
  {
    jwt: optional(
      group<Omit<JwtAuthOptions, 'events'>, typeof jwtAuthDefaults>(
        jwtAuthDefaults,
        without(jwtAuthChecks, 'events'),
        {},
        jwtKeysCheck,
      ),
    ),
    apiKey: optional(group(apiKeyAuthDefaults, without(apiKeyAuthChecks, 'events'))),
    basic: optional(group(basicAuthDefaults, without(basicAuthChecks, 'events'))),
    clientCert: optional(
      group<Pick<ClientCertAuthOptions, 'headers'>, object>(clientCertAuthDefaults, {
        headers: clientCertAuthChecks.headers,
      }),
    ),
    forwardAuth: optional(group(forwardAuthDefaults, without(forwardAuthChecks, 'events'))),
  },
  FUNCTIONS,
  (one) =>
    Object.keys(one).length === 1 ? [] : ['must have exactly one of jwt, apiKey, basic, clientCert and forwardAuth'],
);

/** Credentials of clients, which services of `forwardAuth` replace. A client may send its own to another route. */
const CREDENTIALS: ReadonlySet<string> = new Set(['authorization', 'cookie']);

/** The request headers in which an authenticator tells backends who a client is. */
export function identityHeadersOf({ jwt, apiKey, basic, clientCert, forwardAuth: forward }: Authenticator): string[] {
  return [
    ...Object.keys(jwt?.claimHeaders ?? {}),
    ...[apiKey, basic].flatMap((one) =>
      one === undefined ? [] : (one.consumerHeader ?? apiKeyAuthDefaults.consumerHeader),
    ),
    ...(clientCert === undefined
      ? []
      : ['client-cert-chain', ...Object.keys(clientCert.headers ?? clientCertAuthDefaults.headers)]),
    ...[forward?.responseHeaders ?? [], forward?.consumerHeader ?? []].flat(),
  ].filter((name) => !CREDENTIALS.has(name.toLowerCase()));
}

/** An authenticator in use. */
export interface RunningAuthenticator {
  readonly middleware: AuthenticationMiddleware;
  close(): void;
}

/** @throws {OptionsError} for problems that only its use shows, such as an unreadable file of keys. */
export function startAuthenticator(
  { jwt, apiKey, basic, clientCert, forwardAuth: forward }: Authenticator,
  events: GatewayEvents,
): RunningAuthenticator {
  if (apiKey !== undefined) {
    const middleware = apiKeyAuth({ ...apiKey, events });
    return { middleware, close: () => middleware.close() };
  }
  const close = () => undefined;
  if (jwt !== undefined) return { middleware: jwtAuth({ ...jwt, events }), close };
  if (basic !== undefined) return { middleware: basicAuth({ ...basic, events }), close };
  // The whole server decides which certificate counts for which host.
  if (clientCert !== undefined)
    return { middleware: clientCertAuth({ ...clientCert, isSameHost: () => true, events }), close };
  return { middleware: forwardAuth({ ...(forward as ForwardAuthOptions), events }), close };
}
