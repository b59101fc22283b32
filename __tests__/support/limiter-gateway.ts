import express from 'express';
import { type IpRateLimiter, ipRateLimit } from '../../lib/rate-limit/ip-rate-limit.ts';
import type { IpRateLimitOptions } from '../../lib/rate-limit/ip-rate-limit-options.ts';
import type { Cleanup } from './gateway.ts';
import { listen } from './servers.ts';

export interface LimiterGateway {
  readonly limiter: IpRateLimiter;
  /** Status of a request from this address, by way of one trusted proxy. */
  status(from: string): Promise<number>;
}

/** An app with nothing but a limiter. */
export async function limiterGateway(options: IpRateLimitOptions, cleanup: Cleanup): Promise<LimiterGateway> {
  const limiter = cleanup.add(ipRateLimit(options));
  const app = express()
    .set('trust proxy', 1)
    .use(limiter, (_req, res) => void res.send('ok'));
  const { url } = cleanup.add(await listen(app));
  const status = async (from: string) => {
    const answer = await fetch(url, { headers: { 'X-Forwarded-For': from } });
    await answer.arrayBuffer();
    return answer.status;
  };
  return { limiter, status };
}
