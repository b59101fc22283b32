import { X509Certificate } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { createSecureContext } from 'node:tls';
import type { BackendTlsOptions } from '../../index.ts';
import { StartError } from '../start-error.ts';

/** Where a certificate and its key are. */
export interface TlsFiles {
  readonly cert: string;
  readonly key: string;
}

/** Files for backends over https: authorities to trust, and what the gateway shows them. */
export interface BackendTlsFiles {
  readonly ca: string | undefined;
  readonly cert: string | undefined;
  readonly key: string | undefined;
}

/** What a TLS listener is made with. */
export interface TlsMaterial {
  readonly cert: Buffer;
  readonly key: Buffer;
}

/** Files for TLS that cannot be used. */
export class TlsFilesError extends StartError {}

/**
 * @param name Names the variable in an error.
 * @throws {TlsFilesError}
 */
function readPemFile(name: string, path: string): Buffer {
  try {
    // A pipe without a writer would never end.
    if (statSync(path).isFIFO()) throw Object.assign(new Error(), { code: 'it is a pipe' });
    return readFileSync(path);
  } catch (error) {
    throw new TlsFilesError([`${name} ${path}: cannot be read: ${(error as NodeJS.ErrnoException).code}`]);
  }
}

/**
 * Reads both, and makes sure that they belong together and are in force.
 *
 * @throws {TlsFilesError}
 */
export function readTlsFiles({ cert: certPath, key: keyPath }: TlsFiles): TlsMaterial {
  const [cert, key] = [readPemFile('TLS_CERT', certPath), readPemFile('TLS_KEY', keyPath)];
  try {
    createSecureContext({ cert, key });
  } catch (error) {
    throw new TlsFilesError([`TLS_CERT ${certPath} with TLS_KEY ${keyPath}: ${(error as Error).message}`]);
  }
  const { validTo } = new X509Certificate(cert);
  if (Date.parse(validTo) < Date.now()) throw new TlsFilesError([`TLS_CERT ${certPath}: has expired, ${validTo}`]);
  return { cert, key };
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
