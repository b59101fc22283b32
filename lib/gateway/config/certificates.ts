import { X509Certificate } from 'node:crypto';
import { existsSync } from 'node:fs';
import { createSecureContext, type SecureContext } from 'node:tls';
import { authoritiesIn } from '../../core/pem.ts';
import { problemsOf } from '../start-error.ts';
import { pairProblem, readPemFile, type TlsFiles, TlsFilesError } from './tls-files.ts';

/** Facts about a certificate, for logs and problems. */
export interface CertificateFacts {
  /** Its file. */
  readonly file: string;
  /** DNS names of its subjectAltName, in lower case; `*.` begins a wildcard. */
  readonly names: readonly string[];
  readonly subject: string;
  /** Milliseconds as of `Date.now()`. */
  readonly beginsAt: number;
  readonly expiresAt: number;
  /** Whether the gateway renews it by itself. */
  readonly isAwaited: boolean;
}

/** The certificates of the authorities whose client certificates are accepted. */
export interface ClientAuthorities {
  readonly file: string;
  readonly pem: Buffer;
  readonly facts: readonly CertificateFacts[];
}

/** A certificate that was read, with its key. */
export interface Certificate extends CertificateFacts {
  readonly cert: Buffer;
  readonly key: Buffer;
}

/** A session may be resumed with another certificate, so all contexts need the same id. */
const SESSION_ID_CONTEXT = 'expressway';

/** Remaining milliseconds below which it is a problem. */
export const EXPIRES_SOON_MS = 14 * 86_400_000;

/** One part of Node's text of a subjectAltName. A part with a comma is in quotes. */
const ALTERNATIVE_NAME = /(?:^|, )([A-Za-z ]+):("(?:[^"\\]|\\.)*"|[^,]*)/g;

/** The certificates of a listener, by the server names of clients (SNI, RFC 6066 §3). */
export class Certificates {
  /** The first one is for clients without a server name, or with an unknown one. */
  readonly all: readonly Certificate[];
  readonly clientAuthorities: ClientAuthorities | undefined;
  readonly #contexts = new Map<string, SecureContext>();
  readonly #first: SecureContext | undefined;

  /**
   * @param isAwaited Whether the gateway gets more of them by itself.
   * @throws {TlsFilesError} when two have the same name, when one has none, and when all have expired.
   */
  constructor(all: readonly Certificate[], isAwaited = false, clientAuthorities?: ClientAuthorities) {
    this.all = all;
    this.clientAuthorities = clientAuthorities;
    const owners = new Map<string, Certificate>();
    const problems: string[] = [];
    const contexts = all.map((one) => createSecureContext(this.#optionsOf(one)));
    this.#first = contexts[0];
    for (const [index, one] of all.entries()) {
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
        this.#contexts.set(name, contexts[index] as SecureContext);
      }
    }
    if (!isAwaited && all.every(({ expiresAt }) => expiresAt < Date.now())) {
      for (const { file, expiresAt } of all) problems.push(`TLS_CERT ${file}: has expired, ${dayOf(expiresAt)}`);
    }
    if (problems.length > 0) throw new TlsFilesError(problems);
  }

  get facts(): readonly CertificateFacts[] {
    return [...this.all.map(({ cert, key, ...facts }) => facts), ...(this.clientAuthorities?.facts ?? [])];
  }

  /** For the context of clients that ask for no name, or for an unknown one. Without a certificate yet, the handshake fails. */
  get defaults() {
    return this.#optionsOf(this.all[0]);
  }

  /** `undefined` if there is only one. A wildcard stands for one label (RFC 9525 §6.3). */
  contextFor(servername: string): SecureContext | undefined {
    if (this.all.length === 1) return undefined;
    const name = servername.toLowerCase();
    return this.#contexts.get(name) ?? this.#contexts.get(`*${name.slice(name.indexOf('.'))}`) ?? this.#first;
  }

  /** Every context needs the authorities: without them Node accepts clients with a certificate of any public authority. */
  #optionsOf(one: Certificate | undefined) {
    const authorities = this.clientAuthorities;
    return {
      cert: one?.cert,
      key: one?.key,
      sessionIdContext: SESSION_ID_CONTEXT,
      ...(authorities && { ca: authorities.pem }),
    };
  }
}

export const dayOf = (at: number): string => new Date(at).toISOString().slice(0, 10);

/**
 * Reads all files, and makes sure that each certificate belongs to its key.
 *
 * @param clientCa File of authorities for client certificates.
 * @throws {TlsFilesError} with each problem.
 */
export function readCertificates(files: readonly TlsFiles[], clientCa?: string): Certificates {
  const problems: string[] = [];
  function read<T>(readOne: () => T): T | undefined {
    try {
      return readOne();
    } catch (error) {
      const found = problemsOf(error);
      if (found === undefined) throw error;
      problems.push(...found);
      return undefined;
    }
  }
  const certificates = files
    .filter(({ isAwaited, cert }) => !isAwaited || existsSync(cert))
    .map((one) => read(() => readCertificate(one)))
    .filter((one) => one !== undefined);
  const authorities = clientCa === undefined ? undefined : read(() => readAuthorities(clientCa));
  if (problems.length > 0) throw new TlsFilesError(problems);
  return new Certificates(
    certificates,
    files.some(({ isAwaited }) => isAwaited),
    authorities,
  );
}

function readAuthorities(file: string): ClientAuthorities {
  const pem = readPemFile('TLS_CLIENT_CA', file);
  const found = authoritiesIn(pem);
  if ('text' in found) throw new TlsFilesError([`TLS_CLIENT_CA ${file}: ${found.text}`]);
  const facts = found.certificates.map((one) => {
    return { file, names: [], subject: oneLine(one.subject), ...validityOf(one), isAwaited: false };
  });
  if (facts.every(({ expiresAt }) => expiresAt < Date.now())) {
    throw new TlsFilesError([`TLS_CLIENT_CA ${file}: all of its certificates have expired`]);
  }
  return { file, pem, facts };
}

function readCertificate({ cert: file, key: keyFile, isAwaited = false }: TlsFiles): Certificate {
  const [cert, key] = [readPemFile('TLS_CERT', file), readPemFile('TLS_KEY', keyFile)];
  const fault = pairProblem('TLS', { cert: file, key: keyFile }, { cert, key });
  if (fault !== undefined) throw new TlsFilesError([fault]);
  const parsed = new X509Certificate(cert);
  const names = namesIn(parsed.subjectAltName ?? '');
  return { file, cert, key, subject: oneLine(parsed.subject), ...validityOf(parsed), isAwaited, names };
}

const validityOf = ({ validFrom, validTo }: X509Certificate) => ({
  beginsAt: Date.parse(validFrom),
  expiresAt: Date.parse(validTo),
});

const oneLine = (subject: string | undefined): string => (subject ?? '').replaceAll('\n', ', ');

const namesIn = (subjectAltName: string): readonly string[] => [
  ...new Set(
    [...subjectAltName.matchAll(ALTERNATIVE_NAME)]
      .filter(([, kind, name = '']) => kind === 'DNS' && !name.startsWith('"'))
      .map(([, , name = '']) => name.toLowerCase()),
  ),
];
