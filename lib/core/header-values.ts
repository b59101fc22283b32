import { canonical } from './header-names.ts';
import { TOKEN } from './http.ts';
import { type Check, described, isPlainObject } from './options.ts';

/** A valid value of a header (RFC 9110 §5.5). */
export const HEADER_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;

/** Headers about the connection or the framing of the message. The gateway writes them itself. */
export const CONNECTION_HEADERS: readonly string[] = ['connection', 'content-length', 'transfer-encoding', 'upgrade'];

/**
 * Checks an object of headers, each with its value.
 *
 * @param refused Headers that cannot be set, in canonical spelling.
 * @param why The reason, for the message.
 */
export const headerValues = (refused: ReadonlySet<string>, why = ''): Check =>
  described(
    (value) => {
      if (!isPlainObject(value)) return 'must be an object: a value for each header';
      return Object.entries(value).flatMap(([name, one]) =>
        !TOKEN.test(name) || refused.has(canonical(name))
          ? [{ path: [name], text: `"${name}" is not a header that can be set${why}` }]
          : typeof one !== 'string' || !HEADER_VALUE.test(one)
            ? [{ path: [name], text: `"${name}" must have a text without control characters` }]
            : [],
      );
    },
    { type: 'object', additionalProperties: { type: 'string' } },
  );
