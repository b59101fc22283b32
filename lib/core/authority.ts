/** A port from 1 to 65535, or an empty one (RFC 9110 §4.2.1). */
const PORT = ':(?:0{0,4}(?:[1-9]\\d{0,3}|[1-5]\\d{4}|6[0-4]\\d{3}|65[0-4]\\d\\d|655[0-2]\\d|6553[0-5]))?';
/**
 * A name, an IPv4 address or a bracketed IPv6 one, with a port or without; narrower than RFC 3986, which lets a host be `a'(b)`. Without empty labels,
 * as in nginx: `admin.example..` would be another name for routes than for a lenient backend.
 */
const AUTHORITY = new RegExp(`^(?:\\.?[\\w~-]+(?:\\.[\\w~-]+)*\\.?|\\[[\\da-f:.]+\\])(?:${PORT})?$`, 'i');

/** Whether a text is a valid value of `Host` (RFC 9110 §7.2). */
export function isAuthority(text: string): boolean {
  return AUTHORITY.test(text);
}
