import { createHash } from 'node:crypto';
import type { Send } from '../meter.ts';
import { messageOf, namingForeign } from './foreign-key.ts';
import { withNumbers } from './reply.ts';

/** A script that runs inside Redis. No other command runs between its reads and its writes. */
export class LuaScript {
  readonly source: string;
  readonly #sha: string;

  constructor(source: string) {
    this.source = source;
    this.#sha = createHash('sha1').update(source).digest('hex');
  }

  /** Has Redis compile the script before its first use. This also shows whether Redis works. */
  load(send: Send): Promise<unknown> {
    return send(['SCRIPT', 'LOAD', this.source]);
  }

  /**
   * Runs the script with one command, or with two when Redis has lost it (SCRIPT FLUSH, a restart, a failover). NOSCRIPT means that
   * nothing ran, so the second command, which has the source, counts nothing twice.
   *
   * @throws {ForeignKeyError} when one of the keys holds something else.
   */
  async run(send: Send, keys: readonly string[], args: readonly string[]): Promise<unknown> {
    const rest = [String(keys.length), ...keys, ...args];
    try {
      const reply = await send(['EVALSHA', this.#sha, ...rest], keys[0]).catch((error: unknown) => {
        if (!messageOf(error).startsWith('NOSCRIPT')) throw error;
        return send(['EVAL', this.source, ...rest], keys[0]);
      });
      return withNumbers(reply);
    } catch (error) {
      throw namingForeign(error, keys);
    }
  }
}
