import { X509Certificate } from 'node:crypto';
import { createSecureContext } from 'node:tls';
import { boolean, type Check, type Checks, group, nonEmptyString, OptionsError, optional } from '../../core/options.ts';

type Pem = string | Buffer;

/** How backends over https are checked, and what they are shown. */
export interface BackendTlsOptions {
  /** PEM of the authorities to trust, in place of the system's. Default: the system's. */
  ca?: Pem | readonly Pem[];
  /** PEM of the certificate that the gateway shows, with those that lead to its authority (mutual TLS). Default none. */
  cert?: Pem;
  /** PEM of the private key of `cert`. Default none. */
  key?: Pem;
  /** Opens an encrypted `key`. Default none. */
  passphrase?: string;
  /** The name that every backend's certificate must be for. Default: the name, or address, in each backend's URL. */
  serverName?: string;
  /** Whether certificates are checked at all. Turned off, anybody on the way can read and change everything. Default true. */
  rejectUnauthorized?: boolean;
}

const pem: Check = (value) =>
  (typeof value === 'string' || Buffer.isBuffer(value)) && value.length > 0
    ? undefined
    : 'must be the text of a PEM file, or a Buffer of it';

const pems: Check = (value) => (Array.isArray(value) ? value.map(pem).find((problem) => problem) : pem(value));

const checks: Checks<BackendTlsOptions> = {
  ca: optional(pems),
  cert: optional(pem),
  key: optional(pem),
  passphrase: optional(nonEmptyString),
  serverName: optional(nonEmptyString),
  rejectUnauthorized: optional(boolean),
};

/** Accepts what connections to backends can be made with: the key must open, and be that of the certificate. */
export const backendTls: Check = (value) => {
  const problems = group<BackendTlsOptions, object>({}, checks)(value);
  if (problems !== undefined && problems.length > 0) return problems;
  const { ca, cert, key } = value as BackendTlsOptions;
  if ((cert === undefined) !== (key === undefined)) return ['cert and key must be given together'];
  try {
    for (const one of [ca ?? []].flat()) readAuthorities(String(one));
    createSecureContext(secureContextOptions(value as BackendTlsOptions));
    return undefined;
  } catch (error) {
    return [`ca, cert and key cannot be used: ${(error as Error).message}`];
  }
};

/** @throws {OptionsError} that says what is wrong with them. */
export function assertBackendTls(options: BackendTlsOptions): void {
  const problems = [backendTls(options) ?? []].flat();
  if (problems.length > 0) throw new OptionsError('tls', problems);
}

/** Node ignores an authority that it cannot read, and would then trust nobody without a word. */
function readAuthorities(text: string): void {
  const blocks = text.match(/-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g);
  if (blocks === null) throw new Error('ca has no certificate in it: give the text of a PEM file, not its path');
  for (const block of blocks) new X509Certificate(block);
}

/** The same in Node's words, without what was not given. */
export function secureContextOptions({ ca, cert, key, passphrase }: BackendTlsOptions) {
  return {
    ...(ca === undefined ? {} : { ca: [ca].flat() }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    ...(passphrase === undefined ? {} : { passphrase }),
  };
}

/** What a connector of undici is told. Only the option turns checks off: without a value, NODE_TLS_REJECT_UNAUTHORIZED would. */
export function connectorTls(options: BackendTlsOptions) {
  return { ...secureContextOptions(options), rejectUnauthorized: options.rejectUnauthorized ?? true };
}
