const INTEGER = /^-?\d+$/;

/**
 * The reply to a script, with numbers as numbers. A client of the app may give them as texts (`stringNumbers` of ioredis, `typeMapping` of redis),
 * and texts as Buffers.
 */
export function withNumbers(reply: unknown): unknown {
  if (!Array.isArray(reply) || reply.every(Number.isSafeInteger)) return reply;
  return reply.map((value) => (INTEGER.test(String(value)) ? Number(value) : value));
}
