import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A certificate in a folder, with its key. */
export interface MadeCertificate {
  readonly cert: string;
  readonly key: string;
}

/** What a certificate is like. */
export interface CertificateFacts {
  /** What its subjectAltName has, like `DNS:a.test`. With none, it has no subjectAltName. */
  readonly names?: readonly string[];
  /** From now; it has expired with -1. */
  readonly days?: number;
  /** In the form of openssl, like `/C=SI/CN=a`. */
  readonly subject?: string;
  /** Who signs it: itself, unless another is given. */
  readonly authority?: MadeCertificate;
  /** Extensions in the form of openssl. */
  readonly extensions?: readonly string[];
}

const NEW_KEY = ['-nodes', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256'];

/** Makes one with openssl. */
export function makeCertificate(folder: string, file: string, facts: CertificateFacts = {}): MadeCertificate {
  const { names = [], days = 90, subject = `/CN=${file}`, authority, extensions = [] } = facts;
  const [cert, key, request] = ['pem', 'key', 'csr'].map((end) => join(folder, `${file}.${end}`)) as [
    string,
    string,
    string,
  ];
  const all = [...extensions, ...(names.length === 0 ? [] : [`subjectAltName=${names.join()}`])];
  const wanted = [...NEW_KEY, '-keyout', key, '-utf8', '-multivalue-rdn', '-subj', subject];
  wanted.push(...all.flatMap((one) => ['-addext', one]));
  if (authority === undefined) {
    openssl('req', '-x509', ...wanted, '-days', String(days), '-out', cert);
  } else {
    openssl('req', '-new', ...wanted, '-out', request);
    const signed = [
      '-CA',
      authority.cert,
      '-CAkey',
      authority.key,
      '-copy_extensions',
      'copyall',
      '-days',
      String(days),
    ];
    openssl('x509', '-req', '-in', request, ...signed, '-out', cert);
  }
  return { cert, key };
}

const openssl = (...args: readonly string[]) => execFileSync('openssl', args, { stdio: 'ignore' });

/** The same as options of TLS. */
export const readCertificate = ({ cert, key }: MadeCertificate) => ({
  cert: readFileSync(cert),
  key: readFileSync(key),
});

/** Certificates in a folder of their own, by name. */
export class MadeCertificates {
  readonly folder = mkdtempSync(join(tmpdir(), 'expressway-certificates-'));
  readonly #made = new Map<string, MadeCertificate>();

  make(name: string, facts: CertificateFacts = {}): MadeCertificate {
    const one = makeCertificate(this.folder, name, facts);
    this.#made.set(name, one);
    return one;
  }

  files(name: string): MadeCertificate {
    return this.#made.get(name) as MadeCertificate;
  }

  /** Certificate and key as options of TLS. */
  pair(name: string) {
    return readCertificate(this.files(name));
  }

  remove(): void {
    rmSync(this.folder, { recursive: true });
  }
}
