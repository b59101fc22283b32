import { addressKey } from '../../core/address-key.ts';
import { foldAddress } from '../../core/connection.ts';
import { IP_RATE_LIMIT_DEFAULTS } from '../../rate-limit/ip-rate-limit-options.ts';
import { type Check, type Finding, note, ok, type Patient, type Sample, warning } from './finding.ts';

/** The address that a client would have with TRUST_PROXY. */
export const clientIdentity: Check = {
  name: 'trust proxy',
  run: async (patient) => (patient.sample === undefined ? [inGeneral(patient)] : ofSample(patient, patient.sample)),
};

const SHOW_ME = 'To see it: --sample-forwarded-for "<the field as the proxy sends it>" --peer <address of the proxy>';

function inGeneral({ config }: Patient): Finding {
  const { trustProxy } = config;
  if (trustProxy === false) {
    return note(
      'TRUST_PROXY is empty: a client is the other end of its connection',
      `Right where clients connect directly; behind a proxy or load balancer all of them would share one limit. ${SHOW_ME}`,
    );
  }
  return note(`TRUST_PROXY=${String(trustProxy)} says who may name the client`, SHOW_ME);
}

async function ofSample({ config }: Patient, { forwardedFor, peer }: Sample): Promise<Finding[]> {
  const { default: express } = await import('express');
  const app = express().set('trust proxy', config.trustProxy);
  const trusts: (address: string, hop: number) => boolean = app.get('trust proxy fn');
  const listed = forwardedFor
    .split(',')
    .map((one) => one.trim())
    .filter(Boolean);
  const headers = listed.length === 0 ? {} : { 'x-forwarded-for': listed.join(', ') };
  // Express itself decides, for a request that is not real.
  const sample = { app, headers, socket: { remoteAddress: peer } };
  const req = Object.assign(Object.create(app.request) as { readonly ip: string }, sample);
  const client = foldAddress(trusts(peer, 0) ? req.ip : peer) as string;
  const key = addressKey(client, IP_RATE_LIMIT_DEFAULTS.ipv6Subnet);
  if (!trusts(peer, 0)) return [untrusted(peer, listed)];
  if (key === undefined) {
    return [
      warning(
        `${JSON.stringify(client)} is not an address, so ${peer} would be counted in its place`,
        'Have the proxy send addresses',
      ),
    ];
  }
  const who = `the client would be ${client}${key === client ? '' : `, counted as ${key}`}`;
  if (listed.length === 0)
    return [warning(`${who}: ${peer} is trusted, and sends no X-Forwarded-For`, 'Have the proxy add the field')];
  // The nearest first, because hops are counted from the gateway.
  const hop = listed.length - listed.lastIndexOf(client);
  if (trusts(client, hop)) {
    return [
      warning(
        `${who}, and this address is trusted as well: a client that writes X-Forwarded-For itself could claim any address`,
        typeof config.trustProxy === 'number'
          ? `Trust no more proxies than there are: this sample has ${listed.length} (TRUST_PROXY=${listed.length})`
          : 'List the addresses of the proxies only',
      ),
    ];
  }
  const ignored = listed.slice(0, listed.length - hop);
  const rest =
    ignored.length === 0
      ? ''
      : ` (what stands before it, ${ignored.join(', ')}, is ignored: any client can write that)`;
  return [ok(`${who}${rest}`)];
}

function untrusted(peer: string, listed: readonly string[]): Finding {
  if (listed.length === 0) return ok(`the client would be ${peer}, the other end of the connection`);
  return warning(
    `the client would be ${peer}: it is not trusted, so X-Forwarded-For is not read, and all clients behind it share one limit`,
    `If ${peer} is your proxy, set TRUST_PROXY=${peer} (or the number of proxies in front, where their addresses change)`,
  );
}
