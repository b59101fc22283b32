import { TOKEN } from '../core/http.ts';
import { type Check, isPlainObject } from '../core/options.ts';

/** A text, or several. */
export const textList: Check = (value) => {
  const all = [value].flat();
  return all.length > 0 && all.every((one) => typeof one === 'string' && one !== '')
    ? undefined
    : 'must be a text or a list of texts';
};

/** An object whose keys are header names and whose values are texts. */
export const headerNames: Check = (value) => {
  if (!isPlainObject(value)) return 'must be an object';
  const problems = Object.entries(value).flatMap(([name, text]) => [
    ...(TOKEN.test(name) ? [] : [`"${name}" is not a header name`]),
    ...(typeof text === 'string' && text !== '' ? [] : [`"${name}" must have a non-empty text`]),
  ]);
  return problems.length > 0 ? problems : undefined;
};

/** An absolute URL of http or https. */
export const httpUrl: Check = (value) =>
  typeof value === 'string' && URL.canParse(value) && /^https?:$/.test(new URL(value).protocol)
    ? undefined
    : 'must be an http or https URL';
