import type { ServerResponse } from 'node:http';

/**
 * Makes a response that was answered in its handler's place deaf to that handler. When it comes round to its answer,
 * Node would throw `ERR_HTTP_HEADERS_SENT` or emit `ERR_STREAM_WRITE_AFTER_END`, and from inside a timer or a
 * stream either would end the process.
 */
export function ignoreLateAnswer(res: ServerResponse): void {
  const chain = (): ServerResponse => res;
  const nothing = (): void => {};
  // "Go on": a source that is piped into it must run dry, not wait for a drain that never comes.
  const swallow = (...args: unknown[]): boolean => {
    const done = args.at(-1);
    if (typeof done === 'function') process.nextTick(done as () => void);
    return true;
  };
  Object.assign(res, {
    setHeader: chain,
    setHeaders: chain,
    appendHeader: chain,
    removeHeader: nothing,
    writeHead: chain,
    writeContinue: nothing,
    writeProcessing: nothing,
    writeEarlyHints: nothing,
    write: swallow,
    end: (...args: unknown[]): ServerResponse => {
      swallow(...args);
      return res;
    },
  });
}
