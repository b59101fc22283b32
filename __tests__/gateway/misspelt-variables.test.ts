import { expect, test } from '@jest/globals';
import { VARIABLES } from '../../lib/gateway/config/config.ts';
import { misspeltVariables } from '../../lib/gateway/config/misspelt-variables.ts';

test.each([
  ['RATE_LIMT_MAX', 'RATE_LIMIT_MAX'],
  ['RATELIMIT_MAX', 'RATE_LIMIT_MAX'],
  ['REDIS_URI', 'REDIS_URL'],
  ['rate_limit_max', 'RATE_LIMIT_MAX'],
  ['TRUST_PROXIES', 'TRUST_PROXY'],
  ['HEALTHCHECK_PATH', 'HEALTH_CHECK_PATH'],
  ['MAX_CONNECTION', 'MAX_CONNECTIONS'],
  ['KEEPALIVE_TIMEOUT_MS', 'KEEP_ALIVE_TIMEOUT_MS'],
])('%s was meant to be %s', (name, meant) => {
  expect(misspeltVariables({ [name]: 'a' })).toEqual([{ name, meant }]);
});

test.each([
  ...[
    'PATH',
    'HOME',
    'HOSTNAME',
    'LANG',
    'TERM',
    'SHELL',
    'NODE_ENV',
    'NODE_OPTIONS',
    'npm_config_cache',
    'HTTP_PROXY',
  ],
  ...[
    'DATABASE_URL',
    'REDIS_HOST',
    'REDIS_PORT',
    'BACKEND_PORT',
    'BACKEND_HOST',
    'ADMIN_USER',
    'TLS_CERT_FILE',
    'EXPRESSWAY_ENV_FILE',
  ],
])('%s belongs to another program', (name) => {
  expect(misspeltVariables({ [name]: 'a' })).toEqual([]);
});

test('variables that Kubernetes sets for services are not misspellings', () => {
  const env = {
    BACKENDS_SERVICE_HOST: '10.0.0.1',
    REDIS_URI: 'tcp://10.0.0.1:6379',
    BACKEND_PORT_80_TCP: 'tcp://10.0.0.1:80',
  };
  expect(misspeltVariables(env)).toEqual([]);
});

test('a variable beside the right one is not a misspelling of it, and our variables are not misspellings of each other', () => {
  expect(misspeltVariables({ REDIS_URI: 'a', REDIS_URL: 'b' })).toEqual([]);
  expect(misspeltVariables(Object.fromEntries(Object.keys(VARIABLES).map((name) => [name, '1'])))).toEqual([]);
  for (const name of Object.keys(VARIABLES)) expect(misspeltVariables({ [name]: '1' })).toEqual([]);
});

test('of many, ten are named', () => {
  const env = Object.fromEntries(
    Array.from({ length: 30 }, (_, index) => [`RATE_LIMIT_MA${String.fromCharCode(97 + index)}`, '1']),
  );
  expect(misspeltVariables(env)).toHaveLength(10);
});
