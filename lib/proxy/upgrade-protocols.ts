import type { IncomingMessage } from 'node:http';
import { declaredLength } from '../core/declared-length.ts';
import { type Check, resolveOptions } from '../core/options.ts';
import { shownValue } from '../core/shown-value.ts';

/** Options of `upgradeHandler()`. */
export interface UpgradeHandlerOptions {
  /**
   * Protocols that may be switched to, in lower case. Each opens a tunnel that no later rule looks into: `h2c` and TLS
   * are refused, since the requests in them would pass by all the others. Default `['websocket']`.
   */
  upgrades?: readonly string[];
}

const WEBSOCKET = 'websocket';

/** Defaults of {@link UpgradeHandlerOptions}. */
export const upgradeHandlerDefaults = Object.freeze({ upgrades: Object.freeze([WEBSOCKET]) as readonly string[] });

/** HTTP itself, in the clear or under TLS (RFC 9110 §16.7, RFC 2817): more requests, seen by nobody. */
const CARRIES_HTTP = /^(?:h2c?|h3|https?|tls)(?:\/|$)/;

/** RFC 9110 §7.8: a token, with a version behind a slash or without. */
const PROTOCOL = /^[\w!#$%&'*+.^`|~-]+(?:\/[\w!#$%&'*+.^`|~-]+)?$/;

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

/** @throws {OptionsError} */
export function readUpgradeProtocols(options: UpgradeHandlerOptions | undefined): ReadonlySet<string> {
  const { upgrades } = resolveOptions('upgradeHandler', options, upgradeHandlerDefaults, { upgrades: protocolList });
  return new Set(upgrades);
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
