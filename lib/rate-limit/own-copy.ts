/** An address that was cut from a field's value keeps the whole value in memory, all 16 KB of it (Node 22 does so). */
export function ownCopy(key: string): string {
  const copy = Buffer.from(key, 'latin1').toString('latin1');
  return copy === key ? copy : Buffer.from(key, 'utf16le').toString('utf16le');
}
