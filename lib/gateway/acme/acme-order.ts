import type { Authorization } from 'acme-client';
import { StartError } from '../start-error.ts';
import { type AcmeStore, challengeName } from './acme-store.ts';
import type { AcmeConfig } from './acme-variables.ts';

const ACCOUNT = 'account.json';
/** Milliseconds after which Redis drops a challenge, should the gateway die during the order. */
const CHALLENGE_TTL_MS = 600_000;
/** No retries by acme-client, which would wait for any `Retry-After`. A failed order is repeated as a whole. */
const HTTP = { timeout: 20_000, acmeSettings: { retryMaxAttempts: 0 } };
/** How often, and at which intervals, the authority is asked for the result of its check. */
const POLLING = { backoffAttempts: 10, backoffMin: 1_000, backoffMax: 10_000 };

/**
 * Gets one certificate (RFC 8555): the private key and the chain, as one PEM text.
 *
 * @param store Has the key of the account, and gets the challenge, which other processes may have to show.
 * @throws {Error} that says what the authority found.
 */
export async function orderCertificate(domain: string, config: AcmeConfig, store: AcmeStore): Promise<string> {
  try {
    return await order(domain, config, store);
  } catch (error) {
    // When a connection fails, acme-client 5.4 loses the reason and throws a TypeError about a missing response.
    if (!(error instanceof TypeError)) throw error;
    await reach(config.directoryUrl);
    throw new Error('the connection to the authority was lost', { cause: error });
  }
}

async function order(domain: string, config: AcmeConfig, store: AcmeStore): Promise<string> {
  const { Client, axios, crypto } = await importAcme();
  Object.assign(axios.defaults, HTTP);
  const { directoryUrl, externalAccount, email } = config;
  const account = await accountIn(store, () => crypto.createPrivateEcdsaKey());
  const client = new Client({
    directoryUrl,
    accountKey: account.key,
    ...(account.url !== undefined && { accountUrl: account.url }),
    ...POLLING,
    ...(externalAccount && { externalAccountBinding: externalAccount }),
  });
  if (account.url === undefined) {
    const contact = email === undefined ? {} : { contact: [`mailto:${email}`] };
    await client.createAccount({ termsOfServiceAgreed: true, ...contact });
    await store.write(ACCOUNT, JSON.stringify({ ...account, url: client.getAccountUrl() }));
  }
  const [key, csr] = await crypto.createCsr({ altNames: [domain] }, await crypto.createPrivateEcdsaKey());
  const nameOf = ({ token }: { token: string }) => challengeName(config.challenge === 'http-01' ? token : domain);

  async function textOf(authorization: Authorization, keyAuthorization: string): Promise<string> {
    if (config.challenge === 'http-01') return keyAuthorization;
    const ownKey = await crypto.createPrivateEcdsaKey();
    return (await crypto.createAlpnCertificate(authorization, keyAuthorization, ownKey)).join('\n');
  }

  const chain = await client.auto({
    csr,
    challengePriority: [config.challenge],
    // This machine may not reach itself under that name.
    skipChallengeVerification: true,
    async challengeCreateFn(authorization, challenge, keyAuthorization) {
      if (challenge.type !== config.challenge) throw new Error(`the authority does not offer ${config.challenge}`);
      await store.write(nameOf(challenge), await textOf(authorization, keyAuthorization), CHALLENGE_TTL_MS);
    },
    challengeRemoveFn: (_, challenge) => store.remove(nameOf(challenge)),
  });
  return `${key}\n${chain}`;
}

/** @throws {Error} that says why the authority cannot be reached, if that is so. */
async function reach(url: string): Promise<void> {
  try {
    await (await fetch(url, { signal: AbortSignal.timeout(HTTP.timeout) })).body?.cancel();
  } catch (error) {
    const { message, cause } = error as Error;
    const reason = cause instanceof Error ? cause.message : message;
    throw new Error(`the authority cannot be reached: ${reason}`, { cause: error });
  }
}

/** The account with the authority. Until it is created, it has no URL. */
interface Account {
  readonly key: string;
  readonly url?: string;
}

async function accountIn(store: AcmeStore, makeKey: () => Promise<Buffer>): Promise<Account> {
  const text = await store.read(ACCOUNT);
  return text === undefined ? { key: String(await makeKey()) } : JSON.parse(text);
}

/**
 * Inside a `try`, so that bundlers know that the package is optional.
 *
 * @throws {StartError} when it is not installed.
 */
export async function importAcme(): Promise<typeof import('acme-client')> {
  try {
    return await import('acme-client');
  } catch (cause) {
    const reason = String(cause).split('\n', 1)[0];
    throw new StartError([`ACME_DOMAINS: needs the package acme-client (npm install acme-client): ${reason}`], {
      cause,
    });
  }
}
