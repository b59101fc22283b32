/** Number of chunks that are kept without copying; most bodies have no more. */
const FEW = 8;
/** Bytes that later chunks are copied into. */
const PAGE_BYTES = 8_192;

/**
 * The bytes of a body that is kept in memory. A chunk of one byte, which costs a client almost nothing, would take more than a hundred bytes.
 * So later chunks are copied together.
 */
export class KeptBytes {
  readonly #list: Buffer[] = [];
  /** The last page, which is not in the list yet. */
  #page: Buffer | undefined;
  #used = 0;
  #length = 0;

  get length(): number {
    return this.#length;
  }

  push(chunk: Buffer): void {
    this.#length += chunk.length;
    if (this.#list.length < FEW) {
      this.#list.push(chunk);
      return;
    }
    if (this.#page !== undefined && this.#used + chunk.length > PAGE_BYTES) {
      this.#list.push(this.#page.subarray(0, this.#used));
      this.#page = undefined;
    }
    if (chunk.length >= PAGE_BYTES) {
      this.#list.push(chunk);
      return;
    }
    if (this.#page === undefined) {
      this.#page = Buffer.allocUnsafeSlow(PAGE_BYTES);
      this.#used = 0;
    }
    this.#used += chunk.copy(this.#page, this.#used);
  }

  /** The bytes so far, in order. Later bytes do not change the returned chunks. */
  chunks(): Buffer[] {
    return this.#page === undefined ? [...this.#list] : [...this.#list, this.#page.subarray(0, this.#used)];
  }
}
