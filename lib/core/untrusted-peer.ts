import { foldAddress, isInside } from './address.ts';
import type { GatewayRequest } from './http.ts';
import { warnOnce } from './warnings.ts';

/**
 * A peer that is not trusted names a client in `X-Forwarded-For`. Behind a proxy that `trust proxy` does not name, all
 * clients are that proxy: one limit for all of them. Or the peer is a client that makes it up, and all is well: so it is not
 * told of peers on the public internet once somebody has thought of the setting.
 */
export function tellOfStranger(req: GatewayRequest): void {
  const peer = foldAddress(req.socket?.remoteAddress);
  if (peer === undefined || (req.app?.get('trust proxy') && !isInside(peer))) return;
  warnOnce(
    req,
    'WARN_EXPRESSWAY_TRUST_PROXY',
    `${peer} sends X-Forwarded-For and is not trusted, so it is itself taken for the client. If it is your proxy, all of ` +
      `its clients share one limit until you add: app.set('trust proxy', '${peer}') (example gateway: ` +
      `TRUST_PROXY=${peer}), with the addresses of your other proxies, if any, or with their number. If it is a client, do nothing.`,
  );
}
