import { isIPv4 } from 'node:net';

export const V2_SIGNATURE = '\r\n\r\n\0\r\nQUIT\n';

export interface V2Fields {
  readonly from?: string;
  readonly to?: string;
  readonly port?: number;
  readonly toPort?: number;
  /** Version and command; PROXY of version 2 where there is none. */
  readonly command?: number;
  /** Family and protocol; that of the addresses over TCP where there is none. */
  readonly family?: number;
  /** Bytes behind the addresses, such as TLVs. */
  readonly more?: Uint8Array;
}

/** A header of version 2 of the PROXY protocol. IPv6 addresses must be written with all of their eight parts. */
export function v2Header({ from, to, port = 1, toPort = 2, command = 0x21, family, more }: V2Fields): Buffer {
  const ports = Buffer.alloc(4);
  ports.writeUInt16BE(port, 0);
  ports.writeUInt16BE(toPort, 2);
  const addresses = from === undefined || to === undefined ? [] : [bytesOf(from), bytesOf(to), ports];
  const content = Buffer.concat([...addresses, more ?? Buffer.alloc(0)]);
  const kind = family ?? (from !== undefined && isIPv4(from) ? 0x11 : 0x21);
  const head = Buffer.concat([Buffer.from(V2_SIGNATURE, 'latin1'), Buffer.from([command, kind, 0, 0])]);
  head.writeUInt16BE(content.length, 14);
  return Buffer.concat([head, content]);
}

const bytesOf = (address: string): Buffer =>
  isIPv4(address)
    ? Buffer.from(address.split('.').map(Number))
    : Buffer.from(
        address
          .split(':')
          .map((part) => part.padStart(4, '0'))
          .join(''),
        'hex',
      );
