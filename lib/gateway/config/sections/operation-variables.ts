import type { AccessLogFormat } from '../../../index.ts';
import { decimal, list, oneOf, onOrOff, optional, port, secret, section } from '../variable.ts';
import { host } from './listener-variables.ts';

/** From no lines to all lines. */
export const LOG_LEVELS = ['silent', 'error', 'warn', 'info', 'debug'] as const;

export type LogLevel = (typeof LOG_LEVELS)[number];

export interface OperationConfig {
  /** `undefined` when the admin listener is off. */
  readonly admin:
    | { readonly host: string; readonly port: number; readonly token: string | undefined; readonly name: string }
    | undefined;
  readonly logLevel: LogLevel;
  /** `undefined` when it is off. `sample` is the share of successful requests that get a line. */
  readonly accessLog: { readonly format: AccessLogFormat; readonly sample: number } | undefined;
  /** Names of parameters that the access log and traces mask, besides the usual ones. */
  readonly redact: readonly string[];
  /** Whether responses carry `Server-Timing`. */
  readonly serverTiming: boolean;
  /** Whether requests are traced, by the OpenTelemetry SDK that the process has registered. */
  readonly tracing: boolean;
}

function shortName(text: string): string {
  if (text.length <= 60) return text;
  throw new Error(`must have at most 60 characters, got ${text.length}`);
}

export const operation = section(
  'Admin listener, logs and traces',
  {
    ADMIN_HOST: {
      text: `Address of the admin listener (the status page at /, its API, /livez, /readyz, /status, /metrics): keep it away from the
        public.`,
      default: '127.0.0.1',
      read: host,
      takesEffect: 'restart',
    },
    ADMIN_PORT: {
      text: 'Port of the admin listener; 0 takes any free one. Present but empty (ADMIN_PORT=) turns the listener off.',
      default: '9090',
      read: optional(port),
      takesEffect: 'restart',
      isEmptyValue: true,
    },
    ADMIN_TOKEN: {
      text: `With it an operator may drain, isolate and restore backends and reset limits, on the status page and by its API: at least 16
        characters. "openssl rand -hex 32" makes one. Empty: no changes are allowed.`,
      read: optional(secret(16)),
      takesEffect: 'restart',
      isSecret: true,
    },
    GATEWAY_NAME: {
      text: 'What the status page calls this gateway, beside the name of the host: "shop, staging". At most 60 characters.',
      default: 'Expressway',
      read: shortName,
      takesEffect: 'restart',
    },
    LOG_LEVEL: {
      text: 'How much is logged, one JSON object a line: silent, error, warn, info or debug.',
      default: 'info',
      read: oneOf(...LOG_LEVELS),
      takesEffect: 'reload',
    },
    ACCESS_LOG: {
      text: `One line on standard output for each request when it is over, and for clients that were refused before they had made one (10
        such lines a second at most): off, json, common or combined.`,
      default: 'off',
      read: oneOf('off', 'json', 'common', 'combined'),
    },
    ACCESS_LOG_SAMPLE: {
      text: 'Share of the requests without an error that get a line, from 0 to 1. Requests with a status from 400 on always get one.',
      default: '1',
      read: decimal({ from: 0, to: 1 }),
    },
    REDACT: {
      text: `Query parameters that the access log and traces mask, besides passwords, tokens, keys and the like: names in any spelling,
        comma-separated; * stands for any characters, as in user_email,*phone*`,
      read: list,
    },
    SERVER_TIMING: {
      text: 'Whether responses tell clients in Server-Timing how long they took here and at backends: off or on.',
      default: 'off',
      read: onOrOff,
    },
    TRACING: {
      text: `Whether requests are traced, off or on, by an OpenTelemetry SDK that is registered before: node --import ./otel.mjs
        (docs/tracing.md). It needs the package @opentelemetry/api. The traces of proxies that TRUST_PROXY names are continued.`,
      default: 'off',
      read: onOrOff,
    },
  },
  (read): OperationConfig => ({
    admin:
      read.ADMIN_PORT === undefined
        ? undefined
        : { host: read.ADMIN_HOST, port: read.ADMIN_PORT, token: read.ADMIN_TOKEN, name: read.GATEWAY_NAME },
    logLevel: read.LOG_LEVEL,
    accessLog: read.ACCESS_LOG === 'off' ? undefined : { format: read.ACCESS_LOG, sample: read.ACCESS_LOG_SAMPLE },
    redact: read.REDACT,
    serverTiming: read.SERVER_TIMING,
    tracing: read.TRACING,
  }),
);
