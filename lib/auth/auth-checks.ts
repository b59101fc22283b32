import { TOKEN } from '../core/http.ts';
import { type Check, described, isPlainObject } from '../core/options.ts';

const TEXT = { type: 'string', minLength: 1 };

/** A text, or several. */
export const textList: Check = described(
  (value) => {
    const all = [value].flat();
    return all.length > 0 && all.every((one) => typeof one === 'string' && one !== '')
      ? undefined
      : 'must be a text or a list of texts';
  },
  { anyOf: [TEXT, { type: 'array', items: TEXT, minItems: 1 }] },
);

/** An object whose keys are header names and whose values are texts. */
export const headerNames: Check = described(
  (value) => {
    if (!isPlainObject(value)) return 'must be an object';
    const problems = Object.entries(value).flatMap(([name, text]) => [
      ...(TOKEN.test(name) ? [] : [`"${name}" is not a header name`]),
      ...(typeof text === 'string' && text !== '' ? [] : [`"${name}" must have a non-empty text`]),
    ]);
    return problems.length > 0 ? problems : undefined;
  },
  { type: 'object', additionalProperties: TEXT, propertyNames: { pattern: TOKEN.source } },
);

/** An absolute URL of http or https. `fetch` takes none with a name or a password. */
export const httpUrl: Check = described(
  (value) => {
    const url = typeof value === 'string' ? URL.parse(value) : null;
    if (url === null || !/^https?:$/.test(url.protocol)) return 'must be an http or https URL';
    // The value is not shown.
    return url.username + url.password === '' ? undefined : ['must have no name and no password in the URL'];
  },
  { type: 'string', pattern: '^[Hh][Tt][Tt][Pp][Ss]?:' },
);
