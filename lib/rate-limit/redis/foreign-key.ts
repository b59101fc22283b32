const CODE = 'WRONGTYPE';
const WITH_NUMBER = new RegExp(`${CODE} (\\d+)`);

/** A key of the limiter holds what another program has written. It concerns the clients of that key only, and stays as it is. */
export class ForeignKeyError extends Error {
  constructor(key: string) {
    super(`${CODE}: the key "${key}" in Redis holds something else than this limiter writes`);
  }
}

/**
 * Lua that ends a script, before it writes, when a key holds something else than a count. Needs `text`: what `redis.pcall('GET')` has
 * returned for the key of that number.
 *
 * @param isCount Lua condition on `text`, which is a string.
 */
export const refuseForeign = (number: string, isCount: string): string => `
if type(text) == 'table' and not string.find(text.err, '${CODE}') then return text end
if type(text) == 'table' or (text and not ${isCount}) then return redis.error_reply('${CODE} ' .. ${number}) end
`;

/** The message of an error. The client of an app may reject with anything. */
export const messageOf = (error: unknown): string =>
  String((error as { readonly message?: unknown } | null | undefined)?.message ?? '');

/** The error of a script, or of a command with one key. It names the key if that holds something else. */
export function namingForeign(error: unknown, keys: readonly string[]): unknown {
  const message = messageOf(error);
  if (!message.includes(CODE)) return error;
  const number = Number(WITH_NUMBER.exec(message)?.[1] ?? 1);
  return new ForeignKeyError(keys[number - 1] ?? keys[0] ?? '');
}
