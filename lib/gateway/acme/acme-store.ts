import { mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { RedisUrl } from '../../rate-limit/redis/redis-address.ts';
import { RedisLink } from '../../rate-limit/redis/redis-link.ts';

/** Stores certificates, keys and challenges as texts by name. A name is a relative path. */
export interface AcmeStore {
  read(name: string): Promise<string | undefined>;
  /** @param forMs Milliseconds after which Redis drops the text. */
  write(name: string, text: string, forMs?: number): Promise<void>;
  remove(name: string): Promise<void>;
  /** Takes a lock. @returns `false` if another process has it, for up to `forMs`. `remove()` releases it. */
  lock(name: string, forMs: number): Promise<boolean>;
  close(): void;
}

/** Name of the text that proves a challenge, by token (http-01) or by DNS name (tls-alpn-01). Any process may have to show it. */
export const challengeName = (tokenOrDomain: string): string => `challenges/${tokenOrDomain}`;

const isCode = (error: unknown, code: string): boolean => (error as NodeJS.ErrnoException).code === code;

/** Files of one folder, which only their owner may read. */
export class FolderStore implements AcmeStore {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  async read(name: string): Promise<string | undefined> {
    try {
      return await readFile(join(this.#folder, name), 'utf8');
    } catch (error) {
      if (isCode(error, 'ENOENT')) return undefined;
      throw error;
    }
  }

  async write(name: string, text: string): Promise<void> {
    const path = await this.#pathFor(name);
    const draft = `${path}.${process.pid}.new`;
    await writeFile(draft, text, { mode: 0o600 });
    await rename(draft, path);
  }

  async remove(name: string): Promise<void> {
    await rm(join(this.#folder, name), { force: true });
  }

  async lock(name: string, forMs: number): Promise<boolean> {
    const path = await this.#pathFor(name);
    try {
      await writeFile(path, String(process.pid), { flag: 'wx', mode: 0o600 });
      return true;
    } catch (error) {
      if (!isCode(error, 'EEXIST')) throw error;
    }
    // The process that took it has died, if it is that old. The next attempt gets the lock.
    if (Math.abs(Date.now() - (await this.#takenAt(path))) > forMs) await this.remove(name);
    return false;
  }

  close(): void {}

  /** When a lock was taken; now, if it has just been released. */
  async #takenAt(path: string): Promise<number> {
    try {
      return (await stat(path)).mtimeMs;
    } catch (error) {
      if (isCode(error, 'ENOENT')) return Date.now();
      throw error;
    }
  }

  async #pathFor(name: string): Promise<string> {
    const path = join(this.#folder, name);
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    return path;
  }
}

const CONNECT_TIMEOUT_MS = 3_000;

/** Keys of a Redis that several gateways use. It connects when it is first used. */
export class RedisStore implements AcmeStore {
  readonly #url: RedisUrl;
  readonly #prefix: string;
  #link: RedisLink | undefined;
  /** Settles when the connection is up for the first time, or when that fails. */
  #up: Promise<void> | undefined;

  constructor(url: string, prefix: string) {
    this.#url = new RedisUrl(url);
    this.#prefix = prefix;
  }

  async read(name: string): Promise<string | undefined> {
    const text = await this.#send(['GET', this.#prefix + name]);
    return typeof text === 'string' ? text : undefined;
  }

  async write(name: string, text: string, forMs?: number): Promise<void> {
    await this.#send(['SET', this.#prefix + name, text, ...(forMs === undefined ? [] : ['PX', String(forMs)])]);
  }

  async remove(name: string): Promise<void> {
    await this.#send(['DEL', this.#prefix + name]);
  }

  async lock(name: string, forMs: number): Promise<boolean> {
    const got = await this.#send(['SET', this.#prefix + name, String(process.pid), 'NX', 'PX', String(forMs)]);
    return got !== null;
  }

  close(): void {
    this.#link?.close();
  }

  async #send([command, key, ...rest]: readonly [string, string, ...string[]]): Promise<unknown> {
    this.#up ??= this.#connect();
    await this.#up;
    return (this.#link as RedisLink).send([command, key, ...rest], key);
  }

  #connect(): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, CONNECT_TIMEOUT_MS);
      const settle = (): void => {
        clearTimeout(timer);
        resolve();
      };
      // Without a connection, commands are rejected with a reason. The link reconnects by itself.
      this.#link = new RedisLink(this.#url, { up: settle, down: settle });
    });
  }
}
