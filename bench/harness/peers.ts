import { install } from '../../scripts/install.ts';

/** The packages of `bench/package.json`. `npm ci` of the repository leaves them out; the first target that needs one installs them. */
class Peers {
  #isTried = false;
  #why: string | undefined;

  /** Why they cannot be used, if so. */
  missing(): string | undefined {
    if (!this.#isTried) {
      this.#isTried = true;
      this.#why = install('bench');
    }
    return this.#why;
  }
}

export const peers = new Peers();
