import { GatewayError } from '../core/errors.ts';
import { GatewayEvents } from '../core/gateway-events.ts';
import { isPlainObject, OptionsError, type Problem } from '../core/options.ts';
import { type CorsOptions, corsMiddleware } from './cors.ts';
import { type ErrorResponseOptions, errorBodies } from './error-responses.ts';
import { type Authenticator, startAuthenticator } from './route-authentication.ts';

type Path = Problem['path'];

/** The parts of a declaration that need files or packages. */
interface Parts {
  readonly routes: readonly {
    readonly cors?: CorsOptions;
    readonly methods?: readonly string[];
    readonly authentication?: string | Authenticator;
  }[];
  readonly authentication?: Readonly<Record<string, Authenticator>>;
  readonly errors?: ErrorResponseOptions | undefined;
}

/**
 * Finds problems that only the use of a declaration shows, such as missing files and packages. It makes the parts, without connecting
 * to anything, and drops them.
 *
 * @param isBad Whether a part has problems already, so that it need not be made.
 */
export function useProblems({ routes, authentication = {}, errors }: Parts, isBad: (path: Path) => boolean): Problem[] {
  const problems: Problem[] = [];
  const make = (path: Path, part: () => unknown, place: Path = path): void => {
    if (!isBad(place)) problems.push(...problemsOf(path, part));
  };
  const events = new GatewayEvents();
  const authenticator = (path: Path, options: Authenticator): void => {
    // It need not even be an object: an empty value in YAML is null.
    if (isBad(path)) return;
    make([...path, ...Object.keys(options)], () => startAuthenticator(options, events).close());
  };
  for (const [name, options] of Object.entries(authentication)) authenticator(['authentication', name], options);
  for (const [index, route] of routes.entries()) {
    const path = ['routes', index];
    if (isBad(path)) continue;
    const { cors, methods, authentication: own } = route;
    if (typeof own === 'object') authenticator([...path, 'authentication'], own);
    if (cors !== undefined) make([...path, 'cors'], () => corsMiddleware(cors, methods));
  }
  const { html, pages = {} } = errors ?? {};
  const page = (place: Path, options: ErrorResponseOptions) => make(['errors'], () => errorBodies(options), place);
  if (html !== undefined) page(['errors', 'html'], { html });
  for (const [name, one] of Object.entries(isPlainObject(pages) ? pages : {}))
    page(['errors', 'pages', name], { pages: { [name]: one } });
  return problems;
}

function problemsOf(path: Path, part: () => unknown): Problem[] {
  try {
    part();
    return [];
  } catch (error) {
    if (!(error instanceof GatewayError)) throw error;
    const details = error instanceof OptionsError ? error.details : [{ path: [], text: withoutHelp(error.message) }];
    return details.map((one) => ({ path: [...path, ...one.path], text: `${labelOf(path)}${one.text}` }));
  }
}

const withoutHelp = (message: string): string => message.replace(/ \(see [^)]*\)$/, '');

/** The place of a problem, in the words of the option checks: `routes: route 2: `, `authentication: "partners": `. */
const labelOf = (path: Path): string =>
  path
    .map((key, index) => {
      if (typeof key === 'number') return `route ${key + 1}: `;
      return path[index - 1] === 'authentication' && index === 1 ? `"${key}": ` : `${key}: `;
    })
    .join('');
