import { createHash } from 'node:crypto';
import type { Send } from '../meter.ts';

/** A script that runs inside Redis, where nothing comes between its reads and its writes. */
export class LuaScript {
  readonly source: string;
  readonly #sha: string;

  constructor(source: string) {
    this.source = source;
    this.#sha = createHash('sha1').update(source).digest('hex');
  }

  /** Has Redis compile it ahead of its first use; says also whether Redis works. */
  load(send: Send): Promise<unknown> {
    return send(['SCRIPT', 'LOAD', this.source]);
  }

  /**
   * One command, two when Redis has lost the script (SCRIPT FLUSH, a restart, a failover). NOSCRIPT says that
   * nothing was run, so sending it again with the source counts nothing twice; and EVAL cannot lose it again.
   */
  async run(send: Send, keys: readonly string[], args: readonly string[]): Promise<unknown> {
    const rest = [String(keys.length), ...keys, ...args];
    try {
      return await send(['EVALSHA', this.#sha, ...rest], keys[0]);
    } catch (error) {
      if (!(error as Error).message.startsWith('NOSCRIPT')) throw error;
      return send(['EVAL', this.source, ...rest], keys[0]);
    }
  }
}
