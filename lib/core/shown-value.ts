const MAX_TEXT = 100;
const MAX_ITEMS = 5;
const MAX_DEPTH = 2;

/** Shortens a user's text for an error message, puts it in quotes, and removes what may be a password. */
export function shownText(text: string): string {
  // The part before an @ may be a user name and a password, even if the text is no URL.
  let shown = text.replace(/^([a-z][a-z0-9+.-]*:\/\/)?.*@/is, '$1***@');
  if (shown.includes('://')) shown = shown.replace(/([?#]).*$/s, '$1***');
  return JSON.stringify(shown.length > MAX_TEXT ? `${shown.slice(0, MAX_TEXT)}…` : shown);
}

/** Describes a value for an error message. For objects it has only the names of properties, because values may be secrets. */
export function shownValue(value: unknown, depth = 0): string {
  if (typeof value === 'string') return shownText(value);
  if (typeof value === 'function') return value.name === '' ? 'a function' : `the function ${cut(value.name)}`;
  if (typeof value !== 'object' || value === null) return String(value);
  if (Array.isArray(value)) {
    if (value.length === 0) return 'an empty array';
    if (depth === MAX_DEPTH) return 'an array';
    const items = value.slice(0, MAX_ITEMS).map((item) => shownValue(item, depth + 1));
    if (value.length > MAX_ITEMS) items.push(`and ${value.length - MAX_ITEMS} more`);
    return `[${items.join(', ')}]`;
  }
  const kind = value.constructor?.name;
  if (kind !== undefined && kind !== 'Object') return `an object of ${cut(String(kind))}`;
  const names = Object.keys(value);
  if (names.length === 0) return 'an empty object';
  const more = names.length > MAX_ITEMS ? `, and ${names.length - MAX_ITEMS} more` : '';
  return `an object with ${names.slice(0, MAX_ITEMS).map(cut).join(', ')}${more}`;
}

const cut = (name: string): string => (name.length > MAX_TEXT ? `${name.slice(0, MAX_TEXT)}…` : name);
