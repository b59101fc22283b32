import type { IncomingMessage, Server } from 'node:http';
import { notPromise, TCHAR } from '../../core/http.ts';
import { type Check, resolveOptions } from '../../core/options.ts';
import { shownValue } from '../../core/shown-value.ts';
import { declaredLength } from '../../core/unread-content.ts';
import { warnOfThrow, warnOnce } from '../../core/warnings.ts';

/** Options of `upgradeHandler()`. */
export interface UpgradeHandlerOptions {
  /**
   * Allowed protocols, in lower case. Each opens a tunnel that no later rule looks into. `h2c` and TLS are not allowed, because
   * requests inside them would bypass all other rules.
   *
   * @default `['websocket']`
   */
  upgrades?: readonly string[];
  /**
   * Paths whose upgrades are for the app, if the server has other listeners for `upgrade`: prefixes that end at a path segment, or a function
   * of the path. The other listeners get all other upgrades.
   *
   * @default all paths
   */
  path?: string | readonly string[] | ((path: string) => boolean);
}

const WEBSOCKET = 'websocket';

/** Defaults of {@link UpgradeHandlerOptions}. */
export const upgradeHandlerDefaults = Object.freeze({ upgrades: Object.freeze([WEBSOCKET]) as readonly string[] });

/** HTTP itself, with or without TLS (RFC 9110 §16.7, RFC 2817): further requests that the gateway would not see. */
const CARRIES_HTTP = /^(?:h2c?|h3|https?|tls)(?:\/|$)/;

/** RFC 9110 §7.8: a token, with a version behind a slash or without. */
const PROTOCOL = new RegExp(`^${TCHAR}+(?:/${TCHAR}+)?$`);

const protocolList: Check = (value) => {
  if (!Array.isArray(value)) return 'must be an array of protocol names';
  return value.flatMap((name) => {
    if (typeof name !== 'string' || !PROTOCOL.test(name) || name !== name.toLowerCase()) {
      return [`${shownValue(name)} is not a protocol name in lower case`];
    }
    return CARRIES_HTTP.test(name) ? [`"${name}" would carry requests that bypass every rule`] : [];
  });
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
      return Boolean(notPromise(path(asked), 'path'));
    } catch (error) {
      warnOfThrow(
        path,
        'WARN_EXPRESSWAY_LISTENER',
        'The option path of upgradeHandler() threw, and the upgrade did not go to the app',
        error,
      );
      return false;
    }
  };
}

/** The path without its query, also of a target in absolute form (RFC 9112 §3.2.2). */
const pathOf = (url: string): string => url.replace(/^https?:\/\/[^/?#]*/i, '').replace(/[?#].*$/s, '');

/** Warns when a client asks for a WebSocket on a server without a listener for `upgrade`: Node then ignores the upgrade. */
export function warnOfUpgrade(req: IncomingMessage, protocol: string): void {
  if (
    protocol.toLowerCase() !== WEBSOCKET ||
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
 * The first allowed protocol that a request asks for. It is the configured name, never the client's own text, because it goes into
 * the request to the backend.
 */
export function requestedProtocol(req: IncomingMessage, allowed: ReadonlySet<string>): string | undefined {
  const { upgrade } = req.headers;
  // RFC 9110 §7.8: HTTP/1.0 ignores the header. Node has checked that Connection names it.
  if (upgrade === undefined || req.httpVersion !== '1.1') return undefined;
  // The bytes behind the head would be a body and the new protocol at once.
  if (declaredLength(req) > 0) return undefined;
  const asked = upgrade.split(',').map((name) => name.trim().toLowerCase());
  return asked.find((name) => allowed.has(name) && (name !== WEBSOCKET || req.method === 'GET'));
}
