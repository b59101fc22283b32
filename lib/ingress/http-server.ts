import type { Server } from 'node:http';
import { OptionsError } from '../core/options.ts';

/**
 * Throws for a value that is no server of `node:http` or `node:https`, and says what to pass instead.
 *
 * @throws {OptionsError}
 */
export function assertHttpServer(subject: string, server: unknown): asserts server is Server {
  const problem = problemWith(subject, server);
  if (problem !== undefined) throw new OptionsError(subject, [problem]);
}

function problemWith(subject: string, server: unknown): string | undefined {
  if (typeof server === 'function') {
    return `the server must be one of node:http or node:https, got a function, such as an Express app: ${subject}(createServer(app))`;
  }
  const given = server as Partial<Record<keyof Server | 'updateSettings', unknown>> | null | undefined;
  if (typeof given?.updateSettings === 'function') {
    return 'the server must be one of node:http or node:https, got one of node:http2: make it with http2Server(app, { tls: { key, cert } })';
  }
  if (typeof given?.listen === 'function' && typeof given.closeIdleConnections === 'function') return undefined;
  return `the server must be one of node:http or node:https, got ${server === null ? 'null' : typeof server}`;
}
