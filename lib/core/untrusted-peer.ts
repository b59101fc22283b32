import { foldAddress, isInside } from './connection.ts';
import type { GatewayRequest } from './http.ts';
import { warnOnce } from './warnings.ts';

/**
 * A peer that is not trusted names a client in `X-Forwarded-For`. Behind a proxy that `trust proxy` does not name, all
 * clients are that proxy: one limit for all of them. Or the peer is a client that makes it up, and all is well. Which of
 * the two it is cannot be decided here. So only the warning about a peer on a private address, where few strangers are, has the
 * setting that would trust it. There is one warning for each kind of peer, so that a stranger who comes first hides no proxy;
 * and none about peers on the public internet once `trust proxy` is set at all.
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

/** Observability and what is mounted behind it are in apps that differ about this peer. */
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
