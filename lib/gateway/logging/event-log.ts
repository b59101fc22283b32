import { LIMITER_MODE_TEXTS } from '../../core/events.ts';
import type { GatewayEvents, ProblemEvent } from '../../index.ts';
import type { Logger } from './logger.ts';

/** Logs events that an operator must know. Single requests are logged at debug level only, so that a flood does not fill the disk. */
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
  events.on('attemptFailed', ({ service, backend, outcome, retried, exchange }) => {
    const { method } = exchange.req;
    if (outcome.kind !== 'failed')
      log.warn({ service, backend, method, outcome: outcome.kind, retried }, 'attempt failed');
    else
      log.warn(
        { service, backend, method, cause: outcome.cause, error: outcome.error.message, retried },
        'attempt failed',
      );
  });
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

const LEVELS = { critical: 'error', warning: 'warn', notice: 'info' } as const;

/** Logs a problem when it begins, once a minute while it lasts, and when it is over. */
export function logProblem(log: Logger, { state, problem: found }: ProblemEvent): void {
  const { problem, severity, subject, title, text, nextStep, since } = found;
  if (state === 'over') log.info({ problem, subject, lastedMs: Date.now() - since }, `problem is over: ${title}`);
  else log[LEVELS[severity]]({ problem, severity, subject, nextStep }, text);
}
