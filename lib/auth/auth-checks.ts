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

/**
 * Ports that `fetch` blocks.
 *
 * @see https://fetch.spec.whatwg.org/#port-blocking
 */
export const BLOCKED_PORTS: ReadonlySet<string> = new Set(
  [
    '1 7 9 11 13 15 17 19 20 21 22 23 25 37 42 43 53 69 77 79 87 95 101 102 103 104 109 110 111 113 115 117 119 123 135 137',
    '139 143 161 179 389 427 465 512 513 514 515 526 530 531 532 540 548 554 556 563 587 601 636 989 990 993 995 1719 1720 1723',
    '2049 3659 4045 4190 5060 5061 6000 6566 6665 6666 6667 6668 6669 6679 6697 10080',
  ].flatMap((ports) => ports.split(' ')),
);

/** An absolute http or https URL that `fetch` accepts: without credentials, and with a port that is not blocked. */
export const httpUrl: Check = described(
  (value) => {
    const url = typeof value === 'string' ? URL.parse(value) : null;
    if (url === null || !/^https?:$/.test(url.protocol)) return 'must be an http or https URL';
    // The value is not shown.
    if (url.username + url.password !== '') return ['must have no name and no password in the URL'];
    return BLOCKED_PORTS.has(url.port)
      ? [`must have another port: fetch() connects to no port ${url.port}`]
      : undefined;
  },
  { type: 'string', pattern: '^[Hh][Tt][Tt][Pp][Ss]?:' },
);
