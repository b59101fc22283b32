/** Milliseconds for which a warning is shown. Node emits it once, even if its cause lasts. */
const SHOWN_MS = 10 * 60_000;
const MOST = 16;

interface SeenWarning {
  readonly code: string;
  readonly message: string;
  readonly at: number;
}

/** The latest process warning of each code. */
export class ProcessWarnings {
  readonly #seen = new Map<string, SeenWarning>();

  constructor() {
    process.on('warning', this.#listener);
  }

  recent(): readonly SeenWarning[] {
    for (const [code, { at }] of this.#seen) if (Math.abs(Date.now() - at) > SHOWN_MS) this.#seen.delete(code);
    return [...this.#seen.values()];
  }

  close(): void {
    process.off('warning', this.#listener);
  }

  readonly #listener = (warning: Error & { readonly code?: string }): void => {
    const code = warning.code ?? warning.name;
    if (this.#seen.size >= MOST && !this.#seen.has(code)) return;
    this.#seen.set(code, { code, message: warning.message, at: Date.now() });
  };
}
