import type { IncomingMessage, Server } from 'node:http';
import { declaredLength } from '../../core/declared-length.ts';
import { TCHAR } from '../../core/field-values.ts';
import { type Check, resolveOptions } from '../../core/options.ts';
import { shownValue } from '../../core/shown-value.ts';
import { warnOfThrow, warnOnce } from '../../core/warnings.ts';

/** Options of `upgradeHandler()`. */
export interface UpgradeHandlerOptions {
  /**
   * Protocols that may be switched to, in lower case. Each opens a tunnel that no later rule looks into: `h2c` and TLS
   * are refused, since the requests in them would pass by all the others. Default `['websocket']`.
   */
  upgrades?: readonly string[];
  /**
   * Paths whose upgrades are for the app, where the server has other listeners for `upgrade`: prefixes that end at a path
   * segment, or a function of the path. Others are left to those listeners. Default: all.
   */
  path?: string | readonly string[] | ((path: string) => boolean);
}

const WEBSOCKET = 'websocket';

/** Defaults of {@link UpgradeHandlerOptions}. */
export const upgradeHandlerDefaults = Object.freeze({ upgrades: Object.freeze([WEBSOCKET]) as readonly string[] });

/** HTTP itself, in the clear or under TLS (RFC 9110 §16.7, RFC 2817): more requests, seen by nobody. */
const CARRIES_HTTP = /^(?:h2c?|h3|https?|tls)(?:\/|$)/;

/** RFC 9110 §7.8: a token, with a version behind a slash or without. */
const PROTOCOL = new RegExp(`^${TCHAR}+(?:/${TCHAR}+)?$`);

const protocolList: Check = (value) => {
  if (!Array.isArray(value)) return 'must be an array of protocol names';
  const problems = value.flatMap((name) => {
    if (typeof name !== 'string' || !PROTOCOL.test(name) || name !== name.toLowerCase()) {
      return [`${shownValue(name)} is no protocol name in lower case`];
    }
    return CARRIES_HTTP.test(name) ? [`"${name}" would carry requests past every rule`] : [];
  });
  return problems.length > 0 ? problems : undefined;
};

const pathChoice: Check = (value) => {
  if (value === undefined || typeof value === 'function') return undefined;
  const paths: readonly unknown[] = [value].flat();
  const isPath = (one: unknown): boolean => typeof one === 'string' && one.startsWith('/');
  return paths.length > 0 && paths.every(isPath)
    ? undefined
    : 'must be a path like "/api", an array of paths or a function';
};

/** @throws {OptionsError} */
export function readUpgradeHandlerOptions(options: UpgradeHandlerOptions | undefined) {
  const { upgrades, path } = resolveOptions<UpgradeHandlerOptions, typeof upgradeHandlerDefaults>(
    'upgradeHandler',
    options,
    upgradeHandlerDefaults,
    { upgrades: protocolList, path: pathChoice },
  );
  const matches = path === undefined ? () => true : pathTest(path);
  return { protocols: new Set(upgrades), path, owns: ({ url = '' }: IncomingMessage) => matches(pathOf(url)) };
}

function pathTest(path: NonNullable<UpgradeHandlerOptions['path']>): (path: string) => boolean {
  if (typeof path !== 'function') {
    const prefixes = [path].flat().map((prefix) => prefix.replace(/\/$/, ''));
    return (asked) => prefixes.some((prefix) => asked === prefix || asked.startsWith(`${prefix}/`));
  }
  return (asked) => {
    try {
      return Boolean(path(asked));
    } catch (error) {
      warnOfThrow(
        path,
        'WARN_EXPRESSWAY_LISTENER',
        'The option path of upgradeHandler() threw: not for the app',
        error,
      );
      return false;
    }
  };
}

/** Without its query, in origin form also when it came in absolute form (RFC 9112 §3.2.2). */
const pathOf = (url: string): string => url.replace(/^https?:\/\/[^/?#]*/i, '').replace(/[?#].*$/s, '');

/** Tells of a client that asks the proxy for a WebSocket on a server where nothing listens for `upgrade`: Node drops the wish. */
export function tellOfUpgrade(req: IncomingMessage, wish: string): void {
  if (
    wish.toLowerCase() !== WEBSOCKET ||
    (req.socket as { server?: Server } | undefined)?.server?.listenerCount('upgrade') !== 0
  )
    return;
  warnOnce(
    req,
    'WARN_EXPRESSWAY_NO_UPGRADE_HANDLER',
    'A client asked for a WebSocket and got an ordinary response: nothing on this server listens for "upgrade". ' +
      "Add server.on('upgrade', upgradeHandler(app)).",
  );
}

/**
 * The first of the protocols that a request asks for and that is allowed, in our own spelling: what the client wrote
 * never goes on (a backend's request line is no place for it).
 */
export function requestedProtocol(req: IncomingMessage, allowed: ReadonlySet<string>): string | undefined {
  const { upgrade } = req.headers;
  // RFC 9110 §7.8: in HTTP/1.0 the field is ignored. Node has seen to it that Connection names it.
  if (upgrade === undefined || req.httpVersion !== '1.1') return undefined;
  // What follows the head would be content and new protocol at once.
  if (declaredLength(req) > 0) return undefined;
  const asked = upgrade.split(',').map((name) => name.trim().toLowerCase());
  return asked.find((name) => allowed.has(name) && (name !== WEBSOCKET || req.method === 'GET'));
}
