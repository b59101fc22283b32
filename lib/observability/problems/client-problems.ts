import { foldAddress } from '../../core/connection.ts';
import { subscribe } from '../../core/gateway-events.ts';
import { type WarningCode, warnOnceOf } from '../../core/warnings.ts';
import type { ProblemKind } from './problem-kind.ts';
import { percent, RecentCounts } from './recent.ts';
import type { TrafficSources } from './traffic-sources.ts';

/** Requests in ten seconds that a share needs to be meaningful. */
const LEAST_REQUESTS = 10;
/** The share of all requests from which it is a problem. */
const MOST = 0.5;
/** Different client addresses that one peer must name to be taken for a proxy, and not for a client. */
const LEAST_CLIENTS = 3;

/** Process warnings for apps without a status page, once per cause. */
const warnOf = (sources: TrafficSources, code: WarningCode, subject: string, message: string): void =>
  warnOnceOf(sources, code, message, `${code} ${subject}`);

const trustMissing: ProblemKind<TrafficSources> = {
  problem: 'trust_proxy_missing',
  severity: 'warning',
  meaning:
    'Most requests come from a peer that names many clients in `X-Forwarded-For`, and `TRUST_PROXY` does not trust it: all of them count as one client and share ' +
    'one limit.',
  nextStep:
    'If the peer is your proxy or load balancer, name its address in TRUST_PROXY. If it is a client that invents the header, do nothing.',
  detector: (sources) => ({
    *look() {
      const { requests, untrusted } = sources.peers.recent();
      for (const [peer, seen] of untrusted) {
        if (seen.requests < Math.max(LEAST_REQUESTS, requests * MOST) || seen.clients.size < LEAST_CLIENTS) continue;
        const title = `all clients behind ${peer} share one limit: TRUST_PROXY does not trust it`;
        const limited = seen.limited === 0 ? '' : ` ${percent(seen.limited, seen.requests)} of them got 429.`;
        const text =
          `${peer} sent ${percent(seen.requests, requests)} of the requests of the last 10 s, and named other clients in X-Forwarded-For. ` +
          `TRUST_PROXY does not trust it, so all of them count as ${peer}.${limited}`;
        warnOf(sources, 'WARN_EXPRESSWAY_TRUST_PROXY', peer, text);
        yield {
          subject: peer,
          title,
          text,
          nextStep: `If ${peer} is your proxy, set TRUST_PROXY=${peer} (several: their addresses, or how many). If it is a client that invents the header, do nothing.`,
        };
      }
    },
  }),
};

const trustTooHigh: ProblemKind<TrafficSources> = {
  problem: 'trust_proxy_hops',
  severity: 'warning',
  meaning:
    '`TRUST_PROXY` trusts more hops than most requests have entries in `X-Forwarded-For`: clients can invent entries, and so choose the address that they are limited by.',
  nextStep: 'Set TRUST_PROXY to the number of proxies that a request really passes, or to their addresses.',
  detector: (sources) => ({
    *look() {
      const { requests, tooFew, mostEntries, hops } = sources.peers.recent();
      if (tooFew < Math.max(LEAST_REQUESTS, requests * MOST)) return;
      const entries = mostEntries === 0 ? 'no X-Forwarded-For' : `at most ${mostEntries} in X-Forwarded-For`;
      const text =
        `TRUST_PROXY trusts ${hops} ${hops === 1 ? 'hop' : 'hops'}, and ${percent(tooFew, requests)} of the requests of the last 10 s have ${entries}: ` +
        'clients can invent addresses, and so evade their limits.';
      warnOf(sources, 'WARN_EXPRESSWAY_TRUST_PROXY_HOPS', '', text);
      yield {
        subject: '',
        title: `TRUST_PROXY=${hops} trusts more proxies than there are`,
        text,
        nextStep: `Set TRUST_PROXY to the number of proxies that requests pass${mostEntries === 0 ? ' (none: leave it empty)' : ` (it looks like ${mostEntries})`}, or to their addresses.`,
      };
    },
  }),
};

const pipelining: ProblemKind<TrafficSources> = {
  problem: 'client_pipelining',
  severity: 'notice',
  meaning:
    'Clients send requests on a connection without waiting for responses. The gateway takes them one at a time and leaves the others unread, so they wait.',
  nextStep:
    'Nothing, if you do not know the client. One of your own should wait for responses, or use more connections or HTTP/2; `maxRequestsInProgress` of hardenServer() allows more at a time.',
  detector({ events }) {
    const clients = new RecentCounts(64);
    const close = subscribe(events, {
      clientPipelined: ({ address = '' }) => clients.add(foldAddress(address) ?? ''),
    });
    return {
      close,
      *look() {
        for (const [address, counts] of clients.recent()) {
          const count = counts.get('') ?? 0;
          const title = `${address} pipelines requests`;
          const connections = `${count} ${count === 1 ? 'connection' : 'connections'}`;
          const text = `${address} sent requests without waiting for responses on ${connections} in the last 10 s: the gateway takes one at a time, and leaves the others unread.`;
          yield { subject: address, title, text };
        }
        clients.turn();
      },
    };
  },
};

const connections: ProblemKind<TrafficSources> = {
  problem: 'client_connections_full',
  severity: 'warning',
  meaning:
    'A client address has all the connections that `MAX_CONNECTIONS_PER_ADDRESS` (`maxConnectionsPerAddress` of `hardenServer()`) allows. Its further connections are closed ' +
    'without a response (`client_connection_limit`).',
  nextStep:
    'If the address is your proxy or load balancer, name it in TRUST_PROXY, which exempts it. If many clients share it, raise MAX_CONNECTIONS_PER_ADDRESS. Otherwise do nothing: other clients notice nothing.',
  detector({ events }) {
    const closed = new RecentCounts(64);
    const close = subscribe(events, {
      clientRefused({ cause, address = '', detail = '' }) {
        if (cause === 'client_connection_limit') closed.add(foldAddress(address) ?? '', detail);
      },
    });
    return {
      close,
      *look() {
        for (const [address, counts] of closed.recent()) {
          const count = [...counts.values()].reduce((all, one) => all + one, 0);
          const connections = `${count} ${count === 1 ? 'connection' : 'connections'}`;
          yield {
            subject: address,
            title: `${address} has all connections that MAX_CONNECTIONS_PER_ADDRESS allows`,
            text: `The gateway closed ${connections} of ${address} at once in the last 10 s, without a response. ${[...counts.keys()].at(-1)}`,
          };
        }
        closed.turn();
      },
    };
  },
};

/** The worst first. */
export const CLIENT_PROBLEMS: readonly ProblemKind<TrafficSources>[] = [
  trustMissing,
  trustTooHigh,
  connections,
  pipelining,
];
