import type { Detector, Finding, ProblemSeverity, WatchedKind } from '../../index.ts';
import { dayOf, EXPIRES_SOON_MS } from '../config/certificates.ts';
import type { GatewayState, ReloadKind } from './gateway-state.ts';

/** One kind of problem of the hosted gateway. */
export interface GatewayProblemKind {
  /** Name in JSON and log, label of the metric, and anchor in `docs/problems.md`. */
  readonly problem: string;
  readonly severity: ProblemSeverity;
  /** For `docs/problems.md`. */
  readonly meaning: string;
  readonly nextStep: string;
  /** Whether each worker looks for it, too. Of what concerns all processes the primary knows, and one log line is enough. Default false. */
  readonly isOfWorkers?: boolean;
  /** Finds the present problems of the kind in the state of the gateway. */
  find(state: GatewayState): Iterable<Finding>;
}

/** So many crashes within this time are a problem. */
const CRASH_WINDOW_MS = 30_000;
const MOST_CRASHES = 3;
/** Milliseconds after which an event is no longer a problem. */
const RECENT_MS = 10_000;
/** Longest error text, in characters. */
const MOST_TEXT = 300;

const crashLoop: GatewayProblemKind = {
  problem: 'workers_crashing',
  severity: 'critical',
  meaning:
    'Workers crashed at least three times in 30 s. The gateway replaces each one, but the requests that it was serving are lost.',
  nextStep:
    'Look for the exception on standard error, and for lines "worker ended" in the log. If a change of your own causes it, undo the change.',
  *find({ crashes }) {
    const recent = crashes.filter(({ at }) => Math.abs(Date.now() - at) < CRASH_WINDOW_MS);
    const last = recent.at(-1);
    if (last === undefined || recent.length < MOST_CRASHES) return;
    const title = `workers crash again and again (${recent.length} times in 30 s)`;
    const text = `Workers crashed ${recent.length} times in the last 30 s, the last one (worker ${last.worker}) with ${last.how}.`;
    yield { subject: '', title, text };
  },
};

const NEXT_STEPS_OF_LOG: Readonly<Record<string, string>> = {
  ENOSPC: 'Free space on the disk of the log, or rotate it.',
  EDQUOT: 'Free space on the disk of the log, or rotate it.',
  EPIPE: 'Restart what reads the log: its end of the pipe is closed.',
  EIO: 'Check the disk or terminal that the log is written to.',
};

const logFailing: GatewayProblemKind = {
  problem: 'log_failing',
  isOfWorkers: true,
  severity: 'warning',
  meaning:
    'The log, and with it the access log, cannot be written: the disk is full, or the reader has gone. Requests are served all the same; lines wait in memory (16 MiB), then they are dropped and counted.',
  nextStep: 'Free space on the disk of the log, or restart what reads it.',
  *find({ log }) {
    if (log?.failure === undefined) return;
    const { code, message } = log.failure;
    const dropped = log.dropped === 0 ? '' : ` ${log.dropped} lines were dropped so far.`;
    const text = `The log and access log cannot be written to standard output: ${message}. Lines wait in memory until that is full.${dropped}`;
    yield { subject: code, title: `the log cannot be written (${code})`, text, nextStep: NEXT_STEPS_OF_LOG[code] };
  },
};

const NOTICES = 'Correct what the text names: the gateway notices a changed file.';

const NEXT_STEPS_OF_RELOAD: Readonly<Record<ReloadKind, string | undefined>> = {
  all: undefined,
  // The text may name a variable.
  backends: `${NOTICES} Variables are read again at SIGHUP.`,
  certificates: NOTICES,
  workers: 'Correct what the text names, and replace the workers again (SIGUSR2).',
};

const reloadRejected: GatewayProblemKind = {
  problem: 'reload_rejected',
  severity: 'warning',
  meaning:
    'The last reload was rejected, or the workers were not replaced (SIGUSR2), because the new configuration has problems. The old configuration stays in use. A reload of a changed file does not end the problem of another file, or of a signal.',
  nextStep: 'Correct what the text names, and reload again (SIGHUP).',
  *find({ rejectedReloads, misspelt }) {
    const also = misspelt.map(({ name, meant }) => ` ${name} is unknown: did you mean ${meant}?`).join('');
    for (const [kind, { why, from, problems }] of rejectedReloads) {
      const [what, title] =
        kind === 'workers'
          ? ['replacement of the workers', 'the workers were not replaced']
          : ['reload', 'the last reload was rejected'];
      const text = `The ${what} (${why}${from === undefined ? '' : `, ${from}`}) was rejected, and the old configuration stays in use: ${problems.join('; ').slice(0, MOST_TEXT)}.${also}`;
      yield { subject: why, title, text, nextStep: NEXT_STEPS_OF_RELOAD[kind] };
    }
  },
};

const DAY_MS = 86_400_000;

const NOT_YET =
  'Correct the clock of this machine if it is wrong. Otherwise put a certificate in the file that is valid now: the gateway notices.';

const certificateExpiring: GatewayProblemKind = {
  problem: 'certificate_expiring',
  severity: 'warning',
  meaning: 'A certificate of `TLS_CERT` or `TLS_CLIENT_CA` expires within 14 days, has expired, or is not valid yet.',
  nextStep: 'Renew it, and put the new one in its file: the gateway notices.',
  *find({ certificates }) {
    for (const { file, names, subject, beginsAt, expiresAt, isAwaited } of certificates) {
      const what = `the certificate for ${names.slice(0, 3).join(', ') || subject}`;
      if (beginsAt > Date.now()) {
        const title = `${what} is not valid yet`;
        yield { subject: file, title, text: `${file}: ${title}, but from ${dayOf(beginsAt)} on.`, nextStep: NOT_YET };
        continue;
      }
      const left = expiresAt - Date.now();
      // Another kind of problem reports why the gateway could not renew it.
      if (left >= EXPIRES_SOON_MS || isAwaited) continue;
      const when = left < 0 ? 'has expired' : `expires in ${Math.floor(left / DAY_MS)} days`;
      yield { subject: file, title: `${what} ${when}`, text: `${file}: ${what} ${when} (${dayOf(expiresAt)}).` };
    }
  },
};

const certificateNotIssued: GatewayProblemKind = {
  problem: 'certificate_not_issued',
  severity: 'warning',
  meaning:
    'The authority did not issue a certificate for a name of `ACME_DOMAINS`. The gateway tries again, at longer and longer intervals.',
  nextStep:
    'Make sure that the name leads to this gateway, on port 443 (tls-alpn-01) or 80 (http-01), from the internet. The text has the reason of the authority.',
  *find({ acmeFailures }) {
    for (const [domain, { message, retryAt, until }] of acmeFailures) {
      const has = until === undefined ? 'There is none yet' : `The old one is valid until ${dayOf(until)}`;
      const text = `No new certificate for ${domain}: ${message.slice(0, MOST_TEXT)}. ${has}. Next attempt: ${new Date(retryAt).toISOString()}.`;
      yield { subject: domain, title: `no new certificate for ${domain}`, text };
    }
  },
};

const misspelt: GatewayProblemKind = {
  problem: 'variable_misspelt',
  severity: 'warning',
  meaning: 'The environment or `.env` has an unknown variable whose name is close to a variable of the gateway.',
  nextStep: 'Correct the name, or remove the variable.',
  *find(state) {
    for (const { name, meant } of state.misspelt) {
      const text = `${name} is not a variable of the gateway, and has no effect: did you mean ${meant}?`;
      yield { subject: name, title: `${name} is unknown: did you mean ${meant}?`, text };
    }
  },
};

const adminCrowded: GatewayProblemKind = {
  problem: 'admin_connections',
  severity: 'notice',
  meaning: 'Nearly all connections of the admin listener are in use. It closes idle ones to accept new ones.',
  nextStep: 'Find out what the address runs: a scraper or probe should close its connections, or reuse one.',
  *find({ crowding }) {
    for (const [address, { at, held, max }] of crowding) {
      if (Math.abs(Date.now() - at) > RECENT_MS) continue;
      const text = `${address} holds ${held} of ${max} connections of the admin listener: idle ones are closed, so that others get one.`;
      yield { subject: address, title: `${address} holds most admin connections`, text };
    }
  },
};

/** The registry of problems of the hosted gateway itself. Within one severity, the first is the headline. */
export const GATEWAY_PROBLEMS: readonly GatewayProblemKind[] = [
  crashLoop,
  logFailing,
  certificateExpiring,
  certificateNotIssued,
  reloadRejected,
  misspelt,
  adminCrowded,
];

/** @param isWorker Whether this process is a worker, with a primary that looks for the other problems. */
export const watchGateway = (state: GatewayState, isWorker = false): WatchedKind[] =>
  GATEWAY_PROBLEMS.filter(({ isOfWorkers = false }) => isOfWorkers || !isWorker).map((kind) => ({
    kind: { ...kind, isState: true },
    detector: { look: () => kind.find(state) } satisfies Detector,
  }));
