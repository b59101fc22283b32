import { text } from 'node:stream/consumers';
import { problemsOf } from '../../gateway/start-error.ts';
import type { Declaration } from '../../index.ts';
import { readArguments, readEnvFile } from '../arguments.ts';
import { type Command, UsageError } from '../command.ts';
import { requirePackages } from '../packages.ts';
import { oneLine } from '../terminal.ts';
import { explained, type SampleRequest } from './explanation.ts';
import { routesTable } from './routes-table.ts';

const HELP = `Usage: expressway check <file> [<method> <url>] [options]

Checks a file of services and routes (GATEWAY_CONFIG) without starting anything. Prints its problems with line and
column, or its routes in the order in which they are matched. With a request, it says which route takes it, why the
others do not, what the backend gets, and which limits, authentication and timeouts apply. Needs the package yaml.

  --header 'name: value'  -H for short: a header of the request; again for each further one
  --env-file <file>       reads variables that the file refers to

For - in place of the file, it reads standard input.

Exit codes: 0 when the file is good and a route takes the request, 1 if not, 2 for invalid arguments.

Examples:
  expressway check gateway.yaml
  expressway check gateway.yaml GET https://api.example.com/users/42
  helm template shop | yq '.data["gateway.yaml"]' | expressway check -
  expressway check gateway.yaml POST '/shop/cart?beta=1' -H 'x-beta: 1'
`;

const STDIN = 'standard input';

export const CHECK_OPTIONS = {
  header: { type: 'string', short: 'H', multiple: true },
  'env-file': { type: 'string' },
} as const;

export const check: Command = {
  name: 'check',
  summary: 'checks a file of services and routes, and shows what happens to a request',
  help: HELP,

  async run(args, { stdin, stdout, stderr }) {
    const { values, positionals } = readArguments(args, CHECK_OPTIONS, true);
    const [path, method, url, ...more] = positionals;
    if (path === undefined) throw new UsageError('which file?');
    if (more.length > 0 || (method !== undefined && url === undefined)) {
      throw new UsageError('give a file, or a file, a method and a URL');
    }
    const request = method === undefined ? undefined : sampleRequest(method, url as string, values.header ?? []);
    if (values['env-file'] !== undefined) readEnvFile(values['env-file']);
    requirePackages(['yaml'], 'check');
    const source = path === '-' ? await text(stdin) : undefined;
    const declaration = await read(path, source, (problem) => stderr.write(`${oneLine(problem)}\n`));
    if (declaration === undefined) return 1;
    if (request === undefined) {
      stdout.write(routesTable(source === undefined ? path : STDIN, declaration));
      return 0;
    }
    const explanation = explained(declaration, request, process.env);
    stdout.write(explanation.text);
    return explanation.isTaken ? 0 : 1;
  },
};

/** @param source The text of standard input, in place of the file. */
async function read(
  path: string,
  source: string | undefined,
  tell: (problem: string) => void,
): Promise<Declaration | undefined> {
  const { GatewayFile, readDeclaration } = await import('../../gateway/config/declaration/gateway-file.ts');
  try {
    if (source !== undefined) return await readDeclaration(source, STDIN, process.env);
    return await new GatewayFile(path, () => process.env).read();
  } catch (error) {
    const problems = problemsOf(error);
    if (problems === undefined) throw error;
    for (const problem of problems) tell(problem);
    return undefined;
  }
}

/**
 * The request that a client would send: without the user and the password of the URL, and encoded where it is not ASCII.
 *
 * @throws {UsageError}
 */
function sampleRequest(method: string, url: string, lines: readonly string[]): SampleRequest {
  if (!/^[A-Za-z-]+$/.test(method)) throw new UsageError(`${JSON.stringify(method)} is not a method`);
  const [, scheme = 'http', authority = '', given = ''] =
    /^(?:(https?):\/\/(?:[^/?#]*@)?([^/?#]+))?([^#]*)/i.exec(url) ?? [];
  if (authority === '' && !given.startsWith('/')) {
    throw new UsageError(`${JSON.stringify(url)} must be a URL of http or https, or a path`);
  }
  const headers: Record<string, string> = {};
  for (const line of lines) {
    const [, name = '', value = ''] = /^([^\s:]+):\s*(.*)$/.exec(line) ?? [];
    if (name === '') throw new UsageError(`--header must be 'name: value', got ${JSON.stringify(line)}`);
    const key = name.toLowerCase();
    const before = Object.hasOwn(headers, key) ? `${headers[key]}${key === 'cookie' ? '; ' : ', '}` : '';
    headers[key] = before + value;
  }
  const host = headers.host ?? authority;
  const target = given.toWellFormed().replaceAll(/[^!-~]/gu, encodeURIComponent);
  return {
    method: method.toUpperCase(),
    scheme: scheme.toLowerCase(),
    host,
    target: target.startsWith('/') ? target : `/${target}`,
    headers: host === '' ? headers : { ...headers, host },
  };
}
