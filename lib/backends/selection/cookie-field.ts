/** The value of the first cookie of that name in a `Cookie` field (RFC 6265 §4.2.1), as it was sent. */
export function cookieValue(field: string | undefined, name: string): string | undefined {
  if (field === undefined) return undefined;
  let equals = -1;
  for (let from = 0; from < field.length; ) {
    const semicolon = field.indexOf(';', from);
    const end = semicolon === -1 ? field.length : semicolon;
    // It may lie in a later pair. Searching again from each pair would take quadratic time.
    if (equals < from) equals = field.indexOf('=', from);
    if (equals === -1) return undefined;
    if (equals < end && field.slice(from, equals).trim() === name) {
      return field.slice(equals + 1, end).trim();
    }
    from = end + 1;
  }
  return undefined;
}
