import type { LimiterMode } from '../../core/events.ts';
import type { StatusLimiter } from '../status/status-sources.ts';
import type { Finding, ProblemKind } from './problem-kind.ts';
import type { TrafficSources } from './traffic-sources.ts';

/** What a limiter does while Redis is away. */
const INSTEAD: Readonly<Partial<Record<LimiterMode, string>>> = {
  local: 'each gateway counts for itself',
  open: 'no client is limited',
  closed: 'all requests are rejected',
};

type Reason = 'counter' | 'authentication' | 'permission' | 'tls' | 'failing' | 'unreachable';

/** Milliseconds that a limiter may be without Redis before a missing reason is reported: it may still be connecting. */
const UNKNOWN_MS = 3_000;

/** Reasons by the text of an error of Redis, or of the connection to it. The first match counts. */
const REASONS: readonly (readonly [Reason, RegExp])[] = [
  // Not an error of Redis: workers count in their primary.
  ['counter', /primary process/],
  [
    'authentication',
    /WRONGPASS|NOAUTH|invalid (?:username-password|password)|AUTH .*without any password|Client sent AUTH/i,
  ],
  ['permission', /NOPERM/],
  ['tls', /EPROTO|SSL|TLS|wrong version number|CERT_|certificate|self[- ]signed|UNABLE_TO_VERIFY|ERR_TLS/i],
  // The last ones are refusals at login: too many clients, no such database, protected mode.
  [
    'failing',
    /LOADING|READONLY|MISCONF|WRONGTYPE|MASTERDOWN|CLUSTERDOWN|OOM|BUSY|NOREPLICAS|\b(?:ERR|DENIED|NOPROTO) /,
  ],
];

/** The message of an error, followed by those of its causes. */
function wholeMessage(error: unknown, depth = 0): string {
  if (!(error instanceof Error)) return '';
  const { message, cause, code = '', errors = [] } = error as NodeJS.ErrnoException & { errors?: readonly unknown[] };
  const inner = depth > 3 ? [] : [cause, ...errors].map((one) => wholeMessage(one, depth + 1));
  return [message, message.includes(code) ? '' : code, ...inner].filter(Boolean).join(': ');
}

function reasonOf(message: string): Reason {
  return REASONS.find(([, pattern]) => pattern.test(message))?.[0] ?? 'unreachable';
}

/** One kind of problem for each reason, because the next steps differ. */
function storeProblem(
  problem: string,
  reason: Reason,
  what: string,
  texts: Pick<ProblemKind<TrafficSources>, 'meaning' | 'nextStep'>,
): ProblemKind<TrafficSources> {
  const severity = 'warning';
  return {
    problem,
    isState: true,
    severity,
    ...texts,
    detector({ limiters }) {
      let unknownSince = Number.NaN;
      return {
        *look(): Iterable<Finding> {
          const failing = alike(limiters);
          if (!failing.some(({ message }) => message === '')) unknownSince = Number.NaN;
          else if (Number.isNaN(unknownSince)) unknownSince = Date.now();
          for (const { name, mode, instead, message, who } of failing) {
            if (reasonOf(message) !== reason) continue;
            if (message === '' && Math.abs(Date.now() - unknownSince) < UNKNOWN_MS) continue;
            yield {
              subject: name,
              title: `${what}: ${instead}`,
              text: `${who}: ${what}${message === '' ? '' : ` (${message})`}. Meanwhile ${instead}.`,
              severity: mode === 'closed' ? 'critical' : severity,
            };
          }
        },
      };
    },
  };
}

/** The limiters without their store, grouped by error: routes often have their limits in one Redis, and that is one problem. */
function alike(limiters: readonly StatusLimiter[]) {
  const failing = limiters.flatMap(({ name, mode, storeError }) => {
    const instead = INSTEAD[mode];
    return instead === undefined ? [] : [{ name, mode, instead, message: wholeMessage(storeError) }];
  });
  const same = Map.groupBy(failing, ({ mode, message }) => `${mode} ${message}`);
  return [...same.values()].map((all) => {
    const more = all.length - 1;
    const first = all[0] as (typeof failing)[number];
    const who =
      more === 0 ? `Limiter "${first.name}"` : `Limiter "${first.name}" and ${more} other${more === 1 ? '' : 's'}`;
    return { ...first, who: `${who} cannot use shared counts` };
  });
}

/** The worst first. */
export const LIMITER_PROBLEMS: readonly ProblemKind<TrafficSources>[] = [
  storeProblem('redis_authentication', 'authentication', 'Redis refuses the password (authentication failed)', {
    meaning:
      'Redis refuses the user name or password of the limiter, or requires a password that is not set (`WRONGPASS`, `NOAUTH`).',
    nextStep:
      'Correct user name and password in REDIS_URL (redis://user:password@host:6379), or in Redis (ACL, requirepass).',
  }),
  storeProblem('redis_permission', 'permission', 'Redis does not permit a command', {
    meaning: 'The Redis user of the limiter may not run a command or touch its keys (`NOPERM`).',
    nextStep: 'Grant the user in REDIS_URL what docs/rate-limit.md lists (ACL SETUSER), or use another user.',
  }),
  storeProblem('redis_tls', 'tls', 'TLS with Redis fails', {
    meaning:
      'Gateway and Redis do not agree on TLS: one speaks it and the other does not, or the certificate is not trusted.',
    nextStep:
      'Use rediss:// in REDIS_URL where Redis speaks TLS, redis:// where not; for an own authority set NODE_EXTRA_CA_CERTS.',
  }),
  storeProblem('redis_failing', 'failing', 'Redis replies with errors', {
    meaning:
      'Redis replies but refuses commands: it is loading its data, is a replica, is out of memory, cannot save, has too many clients or no such database, or a key holds something else.',
    nextStep:
      'The error in the text says which of these it is: correct it in Redis, or the database number in REDIS_URL.',
  }),
  storeProblem('redis_unreachable', 'unreachable', 'Redis cannot be reached', {
    meaning: 'The limiter has no connection to Redis, or gets no replies in time.',
    nextStep:
      'Start Redis, or correct host and port in REDIS_URL. If it closes connections at once, it may want TLS: rediss://. If it is only slow, see RATE_LIMIT_STORE_TIMEOUT_MS.',
  }),
  storeProblem('counter_late', 'counter', 'the primary process does not reply in time', {
    meaning:
      'With `WORKERS` and without Redis, workers count in the primary process. It does not reply in time, so each worker counts by itself.',
    nextStep:
      'Look at the CPU of the machine: the primary process gets too little of it. Or count in Redis (REDIS_URL).',
  }),
];
