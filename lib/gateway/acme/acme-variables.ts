import { join } from 'node:path';
import { domainToASCII } from 'node:url';
import type { TlsFiles } from '../config/tls-files.ts';
import { file, got, list, oneOf, onOrOff, optional, type Values, type Variables } from '../config/variable.ts';

/** How the gateway proves to the authority that a name leads to it (RFC 8555 §8.3, RFC 8737). */
export type ChallengeType = 'tls-alpn-01' | 'http-01';

/** Settings of automatic certificates. */
export interface AcmeConfig {
  /** DNS names. Each gets its own certificate. */
  readonly domains: readonly string[];
  readonly email: string | undefined;
  readonly directoryUrl: string;
  readonly challenge: ChallengeType;
  /** External account binding, for authorities that require an account of their own (RFC 8555 §7.3.4). */
  readonly externalAccount: { readonly kid: string; readonly hmacKey: string } | undefined;
  /** Folder for certificates and the key of the account. Each authority has its own. */
  readonly folder: string;
  /** Whether several gateways share them through Redis. */
  readonly isShared: boolean;
}

const LETS_ENCRYPT = 'https://acme-v02.api.letsencrypt.org/directory';
const ASCII = /^[\x21-\x7e]+$/;
const DOMAIN = /^(?=.{1,253}$)(?:[a-z\d](?:[a-z\d-]{0,61}[a-z\d])?\.)+[a-z][a-z\d-]{0,61}[a-z\d]$/;

function domains(text: string): readonly string[] {
  const names = list(text).map((name) => (ASCII.test(name) ? name.toLowerCase() : domainToASCII(name)));
  for (const [index, name] of names.entries()) {
    if (name.includes('*')) throw new Error(`must have no wildcards, which need a challenge by DNS, ${got(text)}`);
    if (!DOMAIN.test(name)) throw new Error(`must be a list of DNS names like api.example.com, ${got(text)}`);
    if (names.indexOf(name) < index) throw new Error(`must have each name once, ${got(text)}`);
  }
  return names;
}

function httpsUrl(text: string): string {
  if (URL.parse(text)?.protocol === 'https:') return text;
  throw new Error(`must be an https URL, ${got(text)}`);
}

function email(text: string): string {
  if (/^[^\s@,]+@[^\s@,]+$/.test(text)) return text;
  throw new Error(`must be an email address, ${got(text)}`);
}

function externalAccount(text: string): AcmeConfig['externalAccount'] {
  const [, kid, hmacKey] = /^(.+):([\w-]+=*)$/.exec(text) ?? [];
  if (kid !== undefined && hmacKey !== undefined) return { kid, hmacKey };
  throw new Error('must be an identifier, a colon, and a key in base64url');
}

export const acmeVariables = {
  ACME_DOMAINS: {
    text: `DNS names for which the gateway gets certificates by itself, and renews them, from an authority that speaks ACME, such as Let's Encrypt:
      a comma-separated list (docs/listeners.md). Needs the package acme-client, and that clients reach this gateway under each name on port 443 or 80.
      With it you agree to the authority's terms of service.`,
    read: domains,
    takesEffect: 'reload',
  },
  ACME_EMAIL: { text: 'Where the authority writes to, should there be a problem.', read: optional(email) },
  ACME_DIRECTORY_URL: { text: 'The authority.', default: LETS_ENCRYPT, read: httpsUrl, takesEffect: 'restart' },
  ACME_CHALLENGE: {
    text: `How the authority checks a name: with tls-alpn-01 it connects to port 443, which must lead to PORT; with http-01 it sends a request to port
      80, which must lead to HTTP_REDIRECT_PORT.`,
    default: 'tls-alpn-01',
    read: oneOf('tls-alpn-01', 'http-01'),
    takesEffect: 'restart',
  },
  ACME_EAB: {
    text: `An account that you have with the authority, where it asks for one (external account binding), as it shows it: the identifier of the
      key, a colon, and the key in base64url.`,
    read: optional(externalAccount),
    takesEffect: 'restart',
    isSecret: true,
  },
  ACME_FOLDER: {
    text: `Folder for the certificates, their keys and the key of the account; the gateway makes it. It has to outlast the gateway: authorities limit how
      many certificates a name gets in a week.`,
    default: 'acme',
    read: file,
    takesEffect: 'restart',
  },
  ACME_REDIS: {
    text: `Whether several gateways with the same names share certificates and keys through REDIS_URL: on or off. Who can read that Redis can
      read the keys.`,
    default: 'off',
    read: onOrOff,
    takesEffect: 'restart',
  },
} as const satisfies Variables;

export function readAcme(read: Values<typeof acmeVariables>): AcmeConfig | undefined {
  if (read.ACME_DOMAINS.length === 0) return undefined;
  return {
    domains: read.ACME_DOMAINS,
    email: read.ACME_EMAIL,
    directoryUrl: read.ACME_DIRECTORY_URL,
    challenge: read.ACME_CHALLENGE,
    externalAccount: read.ACME_EAB,
    // A folder for each authority, so that certificates of a test authority are never used after a change of ACME_DIRECTORY_URL.
    folder: join(read.ACME_FOLDER, new URL(read.ACME_DIRECTORY_URL).host.replace(':', '-')),
    isShared: read.ACME_REDIS,
  };
}

/** Problems of the variables together. */
export function acmeProblems(given: Readonly<Record<string, string>>): readonly string[] {
  if (given.ACME_DOMAINS === undefined) return [];
  const problems: string[] = [];
  if (given.ACME_CHALLENGE === 'http-01' && given.HTTP_REDIRECT_PORT === undefined) {
    problems.push('ACME_CHALLENGE: http-01 needs HTTP_REDIRECT_PORT, to which port 80 must lead');
  }
  if (given.ACME_REDIS === 'on' && given.REDIS_URL === undefined) problems.push('ACME_REDIS: needs REDIS_URL');
  return problems;
}

/** File name. A certificate and its key are in one file, so that they always belong together. */
export const acmeFile = (domain: string): string => `${domain}.pem`;

export const acmeFiles = ({ domains, folder }: AcmeConfig): readonly TlsFiles[] =>
  domains.map((domain) => {
    const path = join(folder, acmeFile(domain));
    return { cert: path, key: path, isAwaited: true };
  });
