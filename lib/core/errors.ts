/** Page of the installed package that explains each code, as a path from the app. */
export const helpOf = (code: string): string => `node_modules/expressway/docs/errors.md#${code}`;

/** Stable, documented codes of the errors that this package throws or responds with. */
export type GatewayErrorCode =
  | 'ERR_EXPRESSWAY_OPTIONS'
  | 'ERR_EXPRESSWAY_TRUST_PROXY'
  | 'ERR_EXPRESSWAY_BODY_ALREADY_READ'
  | 'ERR_EXPRESSWAY_REQUEST_HEAD'
  | 'ERR_EXPRESSWAY_CALLBACK'
  | 'ERR_EXPRESSWAY_RUNTIME'
  | 'ERR_EXPRESSWAY_CLOSED'
  | 'ERR_EXPRESSWAY_CLOSE_TIMEOUT';

/** An error of a programmer: it is thrown, and traffic never causes it. Its message ends with the page that explains it. */
export class GatewayError extends Error {
  readonly code: GatewayErrorCode;

  constructor(code: GatewayErrorCode, message: string, options?: ErrorOptions) {
    super(`${message} (see ${helpOf(code)})`, options);
    this.name = 'GatewayError';
    this.code = code;
  }
}
