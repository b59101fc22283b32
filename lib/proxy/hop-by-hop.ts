/** Fields that end at this hop whether `Connection` names them or not (RFC 9110 §7.6.1). */
export const HOP_BY_HOP: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
]);

/** Framing and routing are not a sender's to take away: stripping them would unframe the message. */
const NEVER_STRIPPED = new Set(['content-length', 'host', 'date', 'max-forwards']);

const NOTHING: ReadonlySet<string> = new Set();

export function isHopByHop(lowerCaseName: string): boolean {
  return HOP_BY_HOP.has(lowerCaseName);
}

/** The fields that a `Connection` field names, in lower case. */
export function namedInConnection(connection: string | readonly string[] | undefined): ReadonlySet<string> {
  if (connection === undefined || connection === 'keep-alive' || connection === 'close') return NOTHING;
  const names = new Set<string>();
  for (const token of String(connection).toLowerCase().split(',')) {
    const name = token.trim();
    if (name !== '' && !NEVER_STRIPPED.has(name)) names.add(name);
  }
  return names;
}
