import { execFileSync } from 'node:child_process';
import { join } from 'node:path';

/** A certificate in a folder, with its key. */
export interface MadeCertificate {
  readonly cert: string;
  readonly key: string;
}

const NEW_KEY = ['-nodes', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256'];

/**
 * Makes one with openssl, signed by itself.
 *
 * @param names What its subjectAltName has, like `DNS:a.test`. With none, it has no subjectAltName.
 */
export function makeCertificate(folder: string, file: string, names: readonly string[], days = 90): MadeCertificate {
  const [cert, key] = [join(folder, `${file}.pem`), join(folder, `${file}.key`)];
  const subject = ['-subj', `/CN=${file}`, '-days', String(days)];
  const alternatives = names.length === 0 ? [] : ['-addext', `subjectAltName=${names.join()}`];
  execFileSync('openssl', ['req', '-x509', ...subject, ...NEW_KEY, ...alternatives, '-keyout', key, '-out', cert], {
    stdio: 'ignore',
  });
  return { cert, key };
}
