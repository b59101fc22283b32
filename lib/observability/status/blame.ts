import { STATUS_MAP } from '../../core/errors.ts';
import type { Cause } from '../../core/outcome.ts';

/** Whose fault it is that a request got no complete answer. */
type Blame = 'backend' | 'gateway' | 'client';

/**
 * Is it us or them? A request that is refused because all its backends are out is the backends' fault, although the
 * gateway makes the answer.
 */
const BLAME: Readonly<Record<Cause, Blame>> = Object.freeze({
  dns_error: 'backend',
  connection_refused: 'backend',
  destination_ip_unroutable: 'backend',
  connection_timeout: 'backend',
  connection_terminated: 'backend',
  tls_certificate_error: 'backend',
  tls_protocol_error: 'backend',
  http_protocol_error: 'backend',
  http_response_header_section_size: 'backend',
  http_response_timeout: 'backend',
  http_response_incomplete: 'backend',
  http_upgrade_failed: 'backend',
  connection_read_timeout: 'backend',
  handler_timeout: 'backend',
  circuit_open: 'backend',
  no_backend: 'backend',
  handler_error: 'gateway',
  limiter_unavailable: 'gateway',
  overloaded: 'gateway',
  gateway_resources: 'gateway',
  content_already_read: 'gateway',
  loop_detected: 'gateway',
  rate_limited: 'client',
  client_denied: 'client',
  client_overload: 'client',
  client_timeout: 'client',
  bad_request: 'client',
  content_too_large: 'client',
  target_too_long: 'client',
  head_too_large: 'client',
  expectation_failed: 'client',
  method_not_allowed: 'client',
  not_implemented: 'client',
  version_not_supported: 'client',
  upgrade_not_supported: 'client',
  client_abort: 'client',
});

/** Of the answers of 5xx that the gateway made, those that are not its own fault. */
export function notOurFault(causes: ReadonlyMap<string, number>): {
  readonly backend: number;
  readonly client: number;
} {
  let [backend, client] = [0, 0];
  for (const [cause, count] of causes) {
    if ((STATUS_MAP[cause as Cause]?.status ?? 0) < 500) continue;
    if (BLAME[cause as Cause] === 'backend') backend += count;
    else if (BLAME[cause as Cause] === 'client') client += count;
  }
  return { backend, client };
}
