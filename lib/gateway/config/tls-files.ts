import { readFileSync, statSync } from 'node:fs';
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
    if (statSync(path).isFIFO()) throw Object.assign(new Error(), { code: 'it is a pipe' });
    return readFileSync(path);
  } catch (error) {
    throw new TlsFilesError([`${name} ${path}: cannot be read: ${(error as NodeJS.ErrnoException).code}`]);
  }
}

/**
 * Options of the proxy for backends over https. The proxy checks whether the files can be used.
 *
 * @throws {TlsFilesError}
 */
export function readBackendTls(files: BackendTlsFiles): BackendTlsOptions {
  const { ca, cert, key } = files;
  return {
    ...(ca === undefined ? {} : { ca: readPemFile('BACKEND_CA', ca) }),
    ...(cert === undefined ? {} : { cert: readPemFile('BACKEND_CERT', cert) }),
    ...(key === undefined ? {} : { key: readPemFile('BACKEND_KEY', key) }),
  };
}
