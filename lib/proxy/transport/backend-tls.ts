import { isIP } from 'node:net';
import {
  boolean,
  type Check,
  type Checks,
  described,
  group,
  nonEmptyString,
  OptionsError,
  optional,
} from '../../core/options.ts';
import { authoritiesIn, type Pem, pairFault } from '../../core/pem.ts';

/** TLS to backends: which certificates the gateway accepts, and which one it shows. */
export interface BackendTlsOptions {
  /**
   * PEM of the certificate authorities to trust, instead of those of the system.
   *
   * @default the system's
   */
  ca?: Pem | readonly Pem[];
  /**
   * PEM of the gateway's own certificate and its chain (mutual TLS). Needs `key`.
   *
   * @default none
   */
  cert?: Pem;
  /**
   * PEM of the private key of `cert`.
   *
   * @default none
   */
  key?: Pem;
  /**
   * Passphrase of an encrypted `key`.
   *
   * @default none
   */
  passphrase?: string;
  /**
   * Name that the certificate of every backend must be valid for.
   *
   * @default the name, or address, in each backend's URL
   */
  serverName?: string;
  /**
   * Whether certificates are checked. Without the check, an attacker on the network can read and change everything.
   *
   * @default true
   */
  rejectUnauthorized?: boolean;
}

const pem: Check = described(
  (value) =>
    (typeof value === 'string' || Buffer.isBuffer(value)) && value.length > 0
      ? undefined
      : 'must be the text of a PEM file, or a Buffer of it',
  { type: 'string', minLength: 1 },
);

const pems: Check = described(
  (value) => (Array.isArray(value) ? value.map(pem).find((problem) => problem) : pem(value)),
  { anyOf: [pem.schema ?? {}, { type: 'array', items: pem.schema ?? {} }] },
);

const checks: Checks<BackendTlsOptions> = {
  ca: optional(pems),
  cert: optional(pem),
  key: optional(pem),
  passphrase: optional(nonEmptyString),
  serverName: optional(nonEmptyString),
  rejectUnauthorized: optional(boolean),
};

const tls = group<BackendTlsOptions, object>({}, checks);

/** Accepts options that work: the key must be readable, and belong to the certificate. */
export const backendTls: Check = described((value) => {
  const problems = tls(value);
  if (problems !== undefined && problems.length > 0) return problems;
  const { ca = [], cert, key, passphrase } = value as BackendTlsOptions;
  if ((cert === undefined) !== (key === undefined)) return ['cert and key must be given together'];
  for (const one of [ca].flat()) {
    const found = authoritiesIn(one);
    if ('text' in found) return [`ca ${found.text}`];
  }
  if (cert === undefined || key === undefined) return undefined;
  const fault = pairFault({ cert, key, passphrase });
  if (fault === undefined) return undefined;
  return [fault.part === 'pair' ? `cert and key: ${fault.text}` : `${fault.part} ${fault.text}`];
}, tls.schema ?? {});

/** @throws {OptionsError} that names each problem. */
export function assertBackendTls(options: BackendTlsOptions): void {
  const problems = [backendTls(options ?? null) ?? []].flat();
  if (problems.length > 0) throw new OptionsError('tls', problems);
}

/** Options of undici's connector. `rejectUnauthorized` always has a value: without one, NODE_TLS_REJECT_UNAUTHORIZED could turn checks off. */
export function connectorTls({ ca, cert, key, passphrase, rejectUnauthorized = true }: BackendTlsOptions) {
  return { ca: ca && [ca].flat(), cert, key, passphrase, rejectUnauthorized };
}

/** A certificate is checked for an address as such; TLS must not send an address as the server name (RFC 6066 §3). */
export const proofOf = (name: string) => (isIP(name.replace(/^\[(.*)\]$/, '$1')) ? {} : { servername: name });
