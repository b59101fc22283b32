import { GatewayError } from './errors.ts';
import { isPromise } from './http.ts';
import { shownValue } from './shown-value.ts';

/**
 * What a function of the app threw, or rejected with, as a value that is safe for `next()`. Express takes `undefined` and whatever else counts
 * as false for success, so the request would go on to the next handler, and it takes `'route'` and `'router'` for signals.
 *
 * @param name Of the function, for the message.
 * @returns an object as it is, such as an error; otherwise a {@link GatewayError} ERR_EXPRESSWAY_CALLBACK, whose `cause` is the value.
 */
export function thrownBy(name: string, value: unknown): object {
  if ((typeof value === 'object' && value !== null) || typeof value === 'function') return value;
  const message = `${name} threw ${shownValue(value)} instead of an error`;
  return new GatewayError('ERR_EXPRESSWAY_CALLBACK', message, { cause: value });
}

/** A function of the app that throws and rejects only with values of {@link thrownBy}. */
export function named<F extends (...args: never[]) => unknown>(name: string, given: F): F {
  const failed = (value: unknown): never => {
    throw thrownBy(name, value);
  };
  const call = (...args: Parameters<F>): unknown => {
    try {
      const returned = given(...args);
      return isPromise(returned) ? Promise.resolve(returned).catch(failed) : returned;
    } catch (value) {
      return failed(value);
    }
  };
  return call as F;
}
