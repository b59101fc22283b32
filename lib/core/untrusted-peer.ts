import { foldAddress, isInside } from './connection.ts';
import type { GatewayRequest } from './http.ts';
import { warnOnce } from './warnings.ts';

/**
 * Warns when a peer that is not trusted sends `X-Forwarded-For`. Either it is a proxy that `trust proxy` lacks: then all clients count as that
 * proxy and share one limit. Or it is a client that forges the header, and nothing is wrong. That cannot be decided here.
 *
 * So only the warning about a peer with a private address names the setting that would trust it. Each kind of peer (private, public) causes
 * one warning, so that a forging client cannot hide a proxy. Once `trust proxy` is set, there is no warning about public peers.
 */
export function warnOfUntrustedPeer(req: GatewayRequest): void {
  const peer = foldAddress(req.socket?.remoteAddress);
  if (peer === undefined) return;
  const fact = `${peer} sends X-Forwarded-For and is not trusted, so it counts as the client itself. `;
  if (isInside(peer)) {
    warnOnceAbout(
      req,
      `${fact}If it is your proxy, all of its clients share one limit until you add: app.set('trust proxy', '${peer}') ` +
        `(example gateway: TRUST_PROXY=${peer}), with the addresses of your other proxies, if any, or with their number. ` +
        'If it is a client, do nothing.',
      'inside',
    );
  } else if (!req.app?.get('trust proxy')) {
    warnOnceAbout(
      req,
      `${fact}Any client on the internet can send that field: if the address is not that of a proxy of yours, do nothing, and ` +
        "do not trust it. If it is, all of its clients share one limit until app.set('trust proxy', …) (example gateway: " +
        'TRUST_PROXY=…) names the addresses of your proxies.',
      'outside',
    );
  }
}

/** Warns when `observability()` and a middleware after it are in apps whose `trust proxy` settings differ about this peer. */
export function warnOfTrustMismatch(req: GatewayRequest): void {
  warnOnce(
    req,
    'WARN_EXPRESSWAY_TRUST_MISMATCH',
    `observability() is mounted in an app with another "trust proxy" than the app of the limiter or proxy: they differ about ${req.socket?.remoteAddress}, ` +
      'so that logs, request ids and traces may be about another client than limits. Give both apps the same setting.',
  );
}

const warnOnceAbout = (req: GatewayRequest, message: string, where: string): void =>
  warnOnce(req, 'WARN_EXPRESSWAY_TRUST_PROXY', message, `WARN_EXPRESSWAY_TRUST_PROXY ${where}`);
