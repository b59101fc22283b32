/** One member of a list of strings with integer parameters. */
export interface Member {
  readonly value: string;
  readonly parameters: Readonly<Record<string, number>>;
}

/**
 * A strict parser for the part of RFC 9651 that the `RateLimit` fields use: a List whose members are Strings with
 * Integer parameters. Throws at the first octet that does not fit.
 */
export function parseRateLimitField(field: string): Member[] {
  let rest = field;
  const take = (pattern: RegExp): string => {
    const [token] = pattern.exec(rest) ?? [];
    if (token === undefined) throw new Error(`no ${pattern} at "${rest}"`);
    rest = rest.slice(token.length);
    return token;
  };
  const members: Member[] = [];
  for (;;) {
    const value = JSON.parse(take(/^"(?:[ !#-[\]-~]|\\["\\])*"/)) as string;
    const parameters: Record<string, number> = {};
    while (rest.startsWith(';')) {
      const key = take(/^; *[a-z*][a-z0-9_.*-]*/)
        .slice(1)
        .trim();
      if (key in parameters) throw new Error(`${key} twice`);
      parameters[key] = Number(take(/^=-?\d{1,15}(?![\d.])/).slice(1));
    }
    members.push({ value, parameters });
    if (rest === '') return members;
    take(/^[ \t]*,[ \t]*(?=.)/);
  }
}
