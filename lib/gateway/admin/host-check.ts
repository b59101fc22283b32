import { isIP } from 'node:net';

/**
 * Whether a request was meant for this listener by its `Host`. A public web page can have its own name resolve to a private
 * address (DNS rebinding) and would then be of one origin with it: names that anybody may register are refused. What is
 * left are addresses, names without a dot (localhost, the name of a container), `.localhost` and `.internal`, which
 * cannot be registered, and the name that the listener was given.
 */
export function isOwnHost(field: string | undefined, adminHost: string): boolean {
  if (field === undefined || !/^[\w.:[\]-]+$/.test(field)) return false;
  const url = URL.parse(`http://${field}/`);
  if (url === null) return false;
  const name = url.hostname.replace(/\.$/, '');
  if (isIP(name.replace(/^\[|\]$/g, '')) !== 0) return true;
  return !name.includes('.') || /\.(localhost|internal)$/.test(name) || name === adminHost.toLowerCase();
}

/** Whether a browser says that another site's page is behind the request. */
export function isForeign(headers: NodeJS.Dict<string | string[]>): boolean {
  const { origin, host } = headers;
  const site = headers['sec-fetch-site'];
  if (site !== undefined && site !== 'same-origin' && site !== 'none') return true;
  return origin !== undefined && URL.parse(String(origin))?.host !== host;
}
