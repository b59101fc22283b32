import { readFileSync, statSync } from 'node:fs';
import { authoritiesIn, type PemPair, pairFault } from '../../core/pem.ts';
import { readFailure } from '../../core/read-failure.ts';
import type { BackendTlsOptions } from '../../index.ts';
import { StartError } from '../start-error.ts';

/** The files of a certificate and its key. */
export interface TlsFiles {
  readonly cert: string;
  readonly key: string;
  /** Whether the gateway gets and renews it by itself (ACME). It may not exist yet. */
  readonly isAwaited?: boolean;
}

/** Files for backends over https: authorities to trust, and the gateway's own certificate. */
export interface BackendTlsFiles {
  readonly ca: string | undefined;
  readonly cert: string | undefined;
  readonly key: string | undefined;
}

/** Files for TLS are invalid. */
export class TlsFilesError extends StartError {}

/**
 * @param name Names the variable in an error.
 * @throws {TlsFilesError}
 */
export function readPemFile(name: string, path: string): Buffer {
  try {
    // Reading a pipe without a writer would never end.
    if (statSync(path).isFIFO()) throw new Error('it is a pipe');
    return readFileSync(path);
  } catch (error) {
    throw new TlsFilesError([`${name} ${path}: cannot be read: ${readFailure(error as Error)}`]);
  }
}

/**
 * Why a certificate and its key cannot be used, with the variable and the file to correct.
 *
 * @param prefix That of the variables, like `TLS` for `TLS_CERT` and `TLS_KEY`.
 */
export function pairProblem(prefix: string, files: TlsFiles, pair: PemPair): string | undefined {
  const fault = pairFault(pair);
  if (fault === undefined) return undefined;
  const [cert, key] = [`${prefix}_CERT ${files.cert}`, `${prefix}_KEY ${files.key}`];
  return `${fault.part === 'cert' ? cert : fault.part === 'key' ? key : `${cert} with ${key}`}: ${fault.text}`;
}

/**
 * Options of the proxy for backends over https.
 *
 * @throws {TlsFilesError}
 */
export function readBackendTls(files: BackendTlsFiles): BackendTlsOptions {
  const tls: { ca?: Buffer; cert?: Buffer; key?: Buffer } = {};
  for (const name of ['ca', 'cert', 'key'] as const) {
    const file = files[name];
    if (file !== undefined) tls[name] = readPemFile(`BACKEND_${name.toUpperCase()}`, file);
  }
  const authorities = tls.ca && authoritiesIn(tls.ca);
  if (authorities && 'text' in authorities) throw new TlsFilesError([`BACKEND_CA ${files.ca}: ${authorities.text}`]);
  const { cert, key } = tls;
  if (cert !== undefined && key !== undefined) {
    const problem = pairProblem('BACKEND', files as TlsFiles, { cert, key });
    if (problem !== undefined) throw new TlsFilesError([problem]);
  }
  return tls;
}
