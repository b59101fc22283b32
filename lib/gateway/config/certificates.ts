import { X509Certificate } from 'node:crypto';
import { existsSync } from 'node:fs';
import { createSecureContext, type SecureContext } from 'node:tls';
import { problemsOf } from '../start-error.ts';
import { readPemFile, type TlsFiles, TlsFilesError } from './tls-files.ts';

/** What is known about a certificate, for logs and problems. */
export interface CertificateFacts {
  /** Its file. */
  readonly file: string;
  /** DNS names of its subjectAltName, in lower case; `*.` begins a wildcard. */
  readonly names: readonly string[];
  readonly subject: string;
  /** Milliseconds as of `Date.now()`. */
  readonly expiresAt: number;
  /** Whether the gateway renews it by itself. */
  readonly isAwaited: boolean;
}

/** A certificate that was read, with its key. */
export interface Certificate extends CertificateFacts {
  readonly cert: Buffer;
  readonly key: Buffer;
}

/** Sessions resume with whichever certificate the client asks for: all contexts need the same. */
export const SESSION_ID_CONTEXT = 'expressway';

/** Time left below which an operator hears of it. */
export const EXPIRES_SOON_MS = 14 * 86_400_000;

/** One part of the text that Node makes of a subjectAltName; what holds a comma is in quotes. */
const ALTERNATIVE_NAME = /(?:^|, )([A-Za-z ]+):("(?:[^"\\]|\\.)*"|[^,]*)/g;

/** The certificates of a listener, by the names that clients ask for (SNI, RFC 6066 §3). */
export class Certificates {
  /** The first one is for clients that ask for no name, or for an unknown one. */
  readonly all: readonly Certificate[];
  readonly #contexts = new Map<string, SecureContext>();

  /**
   * @param isAwaited Whether the gateway gets more of them by itself.
   * @throws {TlsFilesError} when two have the same name, when one has none, and when all have expired.
   */
  constructor(all: readonly Certificate[], isAwaited = false) {
    this.all = all;
    const owners = new Map<string, Certificate>();
    const problems: string[] = [];
    for (const [index, one] of all.entries()) {
      const context = contextOf(one);
      if (one.names.length === 0 && index > 0) {
        problems.push(`TLS_CERT ${one.file}: has no DNS name (subjectAltName), so that no client would get it`);
      }
      for (const name of one.names) {
        const owner = owners.get(name);
        if (owner !== undefined) {
          problems.push(`TLS_CERT ${one.file}: ${owner.file} is for ${name} as well`);
          continue;
        }
        owners.set(name, one);
        this.#contexts.set(name, context);
      }
    }
    if (!isAwaited && all.every(({ expiresAt }) => expiresAt < Date.now())) {
      for (const { file, expiresAt } of all) problems.push(`TLS_CERT ${file}: has expired, ${dayOf(expiresAt)}`);
    }
    if (problems.length > 0) throw new TlsFilesError(problems);
  }

  get facts(): readonly CertificateFacts[] {
    return this.all.map(({ cert, key, ...facts }) => facts);
  }

  /** Nothing for an unknown name. A wildcard stands for one label (RFC 9525 §6.3). */
  contextFor(servername: string): SecureContext | undefined {
    if (this.all.length === 1) return undefined;
    const name = servername.toLowerCase();
    return this.#contexts.get(name) ?? this.#contexts.get(`*${name.slice(name.indexOf('.'))}`);
  }
}

const contextOf = ({ cert, key }: Certificate): SecureContext =>
  createSecureContext({ cert, key, sessionIdContext: SESSION_ID_CONTEXT });

export const dayOf = (at: number): string => new Date(at).toISOString().slice(0, 10);

/**
 * Reads all files, and makes sure that each certificate belongs to its key.
 *
 * @throws {TlsFilesError} with each problem.
 */
export function readCertificates(files: readonly TlsFiles[]): Certificates {
  const certificates: Certificate[] = [];
  const problems: string[] = [];
  for (const one of files) {
    if (one.isAwaited && !existsSync(one.cert)) continue;
    try {
      certificates.push(readCertificate(one));
    } catch (error) {
      const found = problemsOf(error);
      if (found === undefined) throw error;
      problems.push(...found);
    }
  }
  if (problems.length > 0) throw new TlsFilesError(problems);
  return new Certificates(
    certificates,
    files.some(({ isAwaited }) => isAwaited),
  );
}

function readCertificate({ cert: file, key: keyFile, isAwaited = false }: TlsFiles): Certificate {
  const [cert, key] = [readPemFile('TLS_CERT', file), readPemFile('TLS_KEY', keyFile)];
  try {
    createSecureContext({ cert, key });
  } catch (error) {
    throw new TlsFilesError([`TLS_CERT ${file} with TLS_KEY ${keyFile}: ${(error as Error).message}`]);
  }
  const { subject, subjectAltName, validTo } = new X509Certificate(cert);
  const expiresAt = Date.parse(validTo);
  return { file, cert, key, subject, expiresAt, isAwaited, names: namesIn(subjectAltName ?? '') };
}

const namesIn = (subjectAltName: string): readonly string[] => [
  ...new Set(
    [...subjectAltName.matchAll(ALTERNATIVE_NAME)]
      .filter(([, kind, name = '']) => kind === 'DNS' && !name.startsWith('"'))
      .map(([, , name = '']) => name.toLowerCase()),
  ),
];
