/**
 * FNV-1a over UTF-16 code units, 32 bits, finished with MurmurHash3's `fmix32`. Fast and even; not for secrets.
 *
 * @param basis Another one gives an unrelated code.
 */
export function hashCode(text: string, basis = 0x811c9dc5): number {
  let code = basis;
  for (let index = 0; index < text.length; index += 1) {
    code = Math.imul(code ^ text.charCodeAt(index), 0x01000193);
  }
  code = Math.imul(code ^ (code >>> 16), 0x85ebca6b);
  code = Math.imul(code ^ (code >>> 13), 0xc2b2ae35);
  return code ^ (code >>> 16);
}
