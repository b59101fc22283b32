import { LIMITER_MODE_TEXTS } from '../../core/events.ts';
import type { AttemptFailedEvent, GatewayEvents, ProblemEvent } from '../../index.ts';
import type { Logger } from './logger.ts';

/**
 * Logs events that an operator must know. Single requests are logged at debug level only, so that a flood does not fill the disk, and failed
 * attempts with a limit.
 */
export function logEvents(events: GatewayEvents, log: Logger): void {
  events.on('circuitStateChange', ({ service, circuit, from, to, retryAfterMs }) => {
    log[to === 'open' ? 'warn' : 'info']({ service, circuit, from, to, retryAfterMs }, `circuit ${to}`);
  });
  events.on('healthChange', ({ service, backend, from, to, error }) => {
    log[to === 'unhealthy' ? 'warn' : 'info']({ service, backend, from, to, error: error?.message }, `backend ${to}`);
  });
  events.on('limiterModeChange', ({ limiter, from, to, error }) => {
    log[error === undefined ? 'info' : 'warn'](
      { limiter, from, to, error: error?.message },
      `limiter "${limiter}" ${LIMITER_MODE_TEXTS[to]}`,
    );
  });
  events.on('backendsChanged', ({ service, added, removed }) =>
    log.info({ service, added, removed }, 'backends changed'),
  );
  events.on('discoveryFailed', ({ service, name, error, backends }) =>
    log.warn(
      { service, name, error: error.message, backends },
      backends === 0
        ? 'discovery failed: no backend of the name is known'
        : 'discovery failed: the backends found before stay in use',
    ),
  );
  events.on('discoveryRecovered', ({ service, name, removed }) =>
    log.info({ service, name }, removed ? 'discovery of a name that failed has ended' : 'discovery works again'),
  );
  events.on('resourceShortage', ({ service, code, description }) =>
    log.error({ service, code }, `gateway_resources: ${description}`),
  );
  events.on('problem', (event) => logProblem(log, event));
  const attempts = new FailedAttempts(log);
  events.on('attemptFailed', (event) => attempts.failed(event));
  events.on('limited', ({ limiter, key, limit, retryAfterMs }) =>
    log.debug({ limiter, key, limit, retryAfterMs }, 'client over its limit'),
  );
  events.on('clientRefused', ({ cause, status, detail, address }) =>
    log.debug({ cause, status, detail, address }, 'client refused'),
  );
  events.on('rejected', ({ service, outcome }) => {
    const cause = 'cause' in outcome ? outcome.cause : undefined;
    const detail = 'detail' in outcome ? outcome.detail : undefined;
    log.debug({ service, outcome: outcome.kind, cause, detail }, 'request rejected');
  });
}

const WINDOW_MS = 1_000;
const MAX_ATTEMPTS = 10;

/** Logs failed attempts, with a limit of lines per second: while a backend is down, each request may have some. Further ones are counted. */
class FailedAttempts {
  readonly #log: Logger;
  #logged = 0;
  #omitted = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(log: Logger) {
    this.#log = log;
  }

  failed({ service, backend, outcome, retried, exchange }: AttemptFailedEvent): void {
    this.#timer ??= setTimeout(() => this.#next(), WINDOW_MS).unref();
    if (this.#logged >= MAX_ATTEMPTS) {
      this.#omitted += 1;
      return;
    }
    this.#logged += 1;
    const { method, headers } = exchange.req;
    const reason =
      outcome.kind === 'failed'
        ? { cause: outcome.cause, error: outcome.error.message }
        : { status: outcome.kind === 'completed' ? outcome.status : undefined };
    // observability() has written the id there, in place of what the client sent.
    const id = headers['x-request-id'];
    this.#log.warn({ id, service, backend, method, ...reason, retried }, 'attempt failed');
  }

  #next(): void {
    const omitted = this.#omitted;
    this.#timer = undefined;
    this.#logged = 0;
    this.#omitted = 0;
    if (omitted > 0) this.#log.warn({ omitted }, 'more attempts failed');
  }
}

const LEVELS = { critical: 'error', warning: 'warn', notice: 'info' } as const;

/** Logs a problem when it begins, once a minute while it lasts, and when it is over. */
export function logProblem(log: Logger, { state, problem: found }: ProblemEvent): void {
  const { problem, severity, subject, title, text, nextStep, since } = found;
  if (state === 'over') log.info({ problem, subject, lastedMs: Date.now() - since }, `problem is over: ${title}`);
  else log[LEVELS[severity]]({ problem, severity, subject, nextStep }, text);
}
