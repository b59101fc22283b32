const SLOTS = 16_384;

/** CRC16 of XMODEM: polynomial 0x1021, from 0. */
const TABLE = Uint16Array.from({ length: 256 }, (_, byte) => {
  let crc = byte << 8;
  for (let bit = 0; bit < 8; bit++) crc = crc & 0x8000 ? (crc << 1) ^ 0x1021 : crc << 1;
  return crc;
});

/**
 * The slot of a key in a Redis Cluster (Redis Cluster specification, "Key distribution model" and "Hash tags"). Keys
 * of ASCII characters only, as those of a limiter are.
 */
export function clusterSlot(key: string): number {
  let [start, end] = [0, key.length];
  const open = key.indexOf('{');
  if (open >= 0) {
    const close = key.indexOf('}', open + 1);
    if (close > open + 1) [start, end] = [open + 1, close];
  }
  let crc = 0;
  for (let i = start; i < end; i++) {
    crc = ((crc << 8) ^ (TABLE[((crc >> 8) ^ key.charCodeAt(i)) & 0xff] as number)) & 0xffff;
  }
  return crc % SLOTS;
}
