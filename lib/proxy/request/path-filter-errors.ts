import type { IncomingMessage } from 'node:http';
import type { Filter } from 'http-proxy-middleware';
import type { Next } from '../../core/http.ts';

/**
 * Keeps what a function given as `pathFilter` throws. http-proxy-middleware would take it for "not this one", and the request
 * would go to the next handler in silence.
 */
export class PathFilterErrors {
  readonly filter: Filter | undefined;
  #thrown: { readonly error: unknown } | undefined;

  constructor(given: Filter | undefined) {
    if (typeof given !== 'function') {
      this.filter = given;
      return;
    }
    this.filter = (pathname: string, req: IncomingMessage) => {
      try {
        return given(pathname, req);
      } catch (error) {
        this.#thrown = { error };
        return false;
      }
    };
  }

  /** `next` for one request, which gets what the filter threw: it is called in the tick in which the filter said no. */
  passedTo(next: Next): Next {
    if (typeof this.filter !== 'function') return next;
    return (error) => {
      const thrown = this.#thrown;
      this.#thrown = undefined;
      if (thrown === undefined) next(error);
      // Express takes nothing for no error.
      else next(thrown.error || new Error(`pathFilter threw ${thrown.error}`));
    };
  }
}
