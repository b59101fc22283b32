import type { IncomingMessage } from 'node:http';
import type { BackendStatus } from '../backends/backend.ts';
import { isOwnAddress } from '../backends/own-address.ts';
import { warnOnce } from '../core/warnings.ts';

/**
 * Looks whether a backend is the server that this request came to. Until then nobody knows where the proxy is mounted; and with
 * `via: false` nobody else would find out, until the requests that go round and round have used up everything.
 */
export function tellOfOwnAddress(req: IncomingMessage, backends: readonly BackendStatus[]): void {
  const { localAddress: address, localPort: port } = req.socket ?? {};
  if (address === undefined || port === undefined) return;
  const own = backends.find(({ backend }) => isOwnAddress(backend, { address, port }));
  if (own === undefined) return;
  warnOnce(
    req,
    'WARN_EXPRESSWAY_LOOP',
    `The backend ${own.backend} is this server itself: what is forwarded to it comes back here. Take it off the list of backends.`,
  );
}
