import { styleText } from 'node:util';
import type { Streams } from './command.ts';

export type Format = Parameters<typeof styleText>[0];

/** Styles for a terminal; plain text for everything else, and where `NO_COLOR` (no-color.org) has a value. */
export function styleFor(stream: Streams['stdout']): (format: Format, text: string) => string {
  const isStyled = stream.isTTY === true && !process.env.NO_COLOR;
  return (format, text) => (isStyled ? styleText(format, text, { validateStream: false }) : text);
}

/** Control characters, and characters that change the direction of text: foreign text must not control the terminal. */
export const safe = (text: string): string =>
  JSON.stringify(text)
    .slice(1, -1)
    .replaceAll(/[\x7f-\x9f\u2028\u2029\p{Cf}]/gu, '?');

/** A line without characters from foreign text that would move the cursor or reverse the text. */
export const oneLine = (text: string): string => text.replaceAll(/[\p{Cc}\p{Cf}]/gu, '?');

const REDRAW_MS = 100;
/** Milliseconds after which a progress bar appears. */
const PATIENCE_MS = 500;
const CELLS = 30;

/** A progress bar for reading a file. It appears only on a terminal. */
export class ProgressBar {
  readonly #stream: Streams['stderr'];
  readonly #label: string;
  readonly #total: number;
  readonly #startedAt = Date.now();
  #drawnAt = this.#startedAt + PATIENCE_MS - REDRAW_MS;
  #drawn = false;

  /** @param total Bytes of the file; without it there is no bar. */
  constructor(stream: Streams['stderr'], label: string, total: number | undefined) {
    this.#stream = stream;
    this.#label = label;
    this.#total = stream.isTTY === true ? (total ?? 0) : 0;
  }

  /** @param done Bytes so far. */
  update(done: number): void {
    if (this.#total === 0) return;
    const now = Date.now();
    if (now - this.#drawnAt < REDRAW_MS) return;
    this.#drawnAt = now;
    this.#drawn = true;
    const part = Math.min(1, done / this.#total);
    const cells = Math.round(part * CELLS);
    const leftS = part > 0 ? Math.ceil(((now - this.#startedAt) * (1 - part)) / part / 1_000) : 0;
    const bar = `${'#'.repeat(cells)}${'.'.repeat(CELLS - cells)}`;
    this.#stream.write(`\r[${bar}] ${Math.floor(part * 100)} % of ${this.#label}, ${leftS} s left \x1b[K`);
  }

  /** Removes the bar. */
  clear(): void {
    if (this.#drawn) this.#stream.write('\r\x1b[K');
  }
}
