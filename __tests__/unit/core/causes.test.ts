import { describe, expect, test } from '@jest/globals';
import { CAUSES, type Cause } from '../../../lib/core/causes.ts';

/** Error types of RFC 9209 §2.3 that a gateway like this one can mean. */
const PROXY_STATUS_TYPES =
  /^(?:dns_timeout|dns_error|destination_not_found|destination_unavailable|destination_ip_prohibited|destination_ip_unroutable|connection_refused|connection_terminated|connection_timeout|connection_read_timeout|connection_write_timeout|connection_limit_reached|tls_protocol_error|tls_certificate_error|tls_alert_received|http_request_error|http_request_denied|http_response_incomplete|http_response_header_section_size|http_response_header_size|http_response_body_size|http_response_trailer_section_size|http_response_trailer_size|http_response_transfer_coding|http_response_content_coding|http_response_timeout|http_upgrade_failed|http_protocol_error|proxy_internal_response|proxy_internal_error|proxy_configuration_error|proxy_loop_detected)$/;

describe.each(Object.keys(CAUSES) as Cause[])('the cause %s', (cause) => {
  const { status, title, proxyStatus, blame, closes } = CAUSES[cause];

  test('has status, title, Proxy-Status type, blame, and says whether the connection closes', () => {
    expect(status).toBeGreaterThanOrEqual(400);
    expect(status).toBeLessThan(600);
    expect(title).toMatch(/^[A-Z][\w ]+$/);
    expect(proxyStatus).toMatch(PROXY_STATUS_TYPES);
    expect(['client', 'gateway', 'backend']).toContain(blame);
    expect(typeof closes).toBe('boolean');
    expect(Object.isFrozen(CAUSES[cause])).toBe(true);
  });

  test('blames no backend for a status of 4xx, and only a malformed request costs the connection', () => {
    if (status < 500) expect(blame).toBe('client');
    if (closes) expect([blame, proxyStatus]).toEqual(['client', 'http_request_error']);
  });
});
