import type { OutgoingMessage } from 'node:http';
import { warn } from '../core/warnings.ts';
import type { QuotaState } from './meter.ts';
import type { Quota } from './quota.ts';

/**
 * The headers about the limit: one of three drafts of draft-ietf-httpapi-ratelimit-headers, the older `X-RateLimit-*` headers with the
 * time of the reset in seconds since 1970, or none.
 */
export type FieldsForm = 'draft-8' | 'draft-7' | 'draft-6' | 'legacy' | 'none';

export const FIELDS_FORMS: readonly FieldsForm[] = ['draft-8', 'draft-7', 'draft-6', 'legacy', 'none'];

/** Writes the headers about the limit. */
export interface RateLimitFields {
  /**
   * @param quotaStates One for each quota.
   * @param limit The limit of this request, if it is not that of the only quota.
   */
  write(res: OutgoingMessage, quotaStates: readonly QuotaState[], limit: number | undefined): void;
}

const seconds = (ms: number): number => Math.ceil(ms / 1000);

/** The amount that a client may spend at once (`q`), and the seconds in which it gets that amount again (`w`). */
function policyOf(quota: Quota, limit: number | undefined): { q: number; w: number } {
  if (limit !== undefined) return { q: limit, w: seconds(quota.windowMs) };
  return { q: quota.burst, w: seconds((quota.windowMs * quota.burst) / quota.limit) };
}

/** @param limiter Name of the limiter. */
export function rateLimitFields(form: FieldsForm, limiter: string, quotas: readonly Quota[]): RateLimitFields {
  if (form === 'none') return { write() {} };
  return form === 'draft-8' ? new ListFields(limiter, quotas) : new TightestFields(form, quotas);
}

/**
 * `RateLimit` and `RateLimit-Policy` of draft 8, with a member for each quota. It leaves out the optional partition key, for which
 * express-rate-limit hashes the client's key on every request.
 */
class ListFields implements RateLimitFields {
  readonly #name: string;
  readonly #quotas: readonly Quota[];
  readonly #items: readonly string[];
  readonly #policy: string;
  #warned = false;

  constructor(name: string, quotas: readonly Quota[]) {
    this.#name = name;
    this.#quotas = quotas;
    this.#items = quotas.map(({ windowMs }) => (quotas.length === 1 ? `"${name}"` : `"${name}-${windowMs / 1000}s"`));
    this.#policy = this.#policyFor(undefined);
  }

  write(res: OutgoingMessage, quotaStates: readonly QuotaState[], limit: number | undefined): void {
    if (res.headersSent) return;
    const policy = limit === undefined ? this.#policy : this.#policyFor(limit);
    const state = this.#state(quotaStates);
    const others = res.getHeader('RateLimit');
    if (others === undefined) {
      res.setHeader('RateLimit-Policy', policy);
      res.setHeader('RateLimit', state);
      return;
    }
    // Both headers are lists: each limiter that a request passes adds its own members.
    if (String(others).includes(`${this.#items[0]};`)) this.#warn();
    res.setHeader('RateLimit-Policy', `${res.getHeader('RateLimit-Policy')}, ${policy}`);
    res.setHeader('RateLimit', `${others}, ${state}`);
  }

  #policyFor(limit: number | undefined): string {
    const members = this.#quotas.map((quota, i) => {
      const { q, w } = policyOf(quota, limit);
      return `${this.#items[i]};q=${q};w=${w}`;
    });
    return members.join(', ');
  }

  #state(quotaStates: readonly QuotaState[]): string {
    let text = '';
    for (let i = 0; i < quotaStates.length; i++) {
      const { remaining, resetMs } = quotaStates[i] as QuotaState;
      text += `${i === 0 ? '' : ', '}${this.#items[i]};r=${remaining};t=${seconds(resetMs)}`;
    }
    return text;
  }

  #warn(): void {
    if (this.#warned) return;
    this.#warned = true;
    warn(
      'WARN_EXPRESSWAY_LIMITER_NAME',
      `A request passed the rate limiter "${this.#name}" twice, or two limiters of this name. One limiter counts such a request twice. ` +
        'So do two in the same Redis with the same keyPrefix. Mount a limiter once on the way of a request, and give each its own name.',
    );
  }
}

/** The forms for a single quota. Of several quotas or limiters, they show the one with the least left. */
class TightestFields implements RateLimitFields {
  readonly #form: Exclude<FieldsForm, 'draft-8' | 'none'>;
  readonly #quotas: readonly Quota[];

  constructor(form: Exclude<FieldsForm, 'draft-8' | 'none'>, quotas: readonly Quota[]) {
    this.#form = form;
    this.#quotas = quotas;
  }

  write(res: OutgoingMessage, quotaStates: readonly QuotaState[], limit: number | undefined): void {
    if (res.headersSent) return;
    let i = 0;
    for (let k = 1; k < quotaStates.length; k++) if (isTighter(quotaStates[k]!, quotaStates[i]!)) i = k;
    const { remaining, resetMs } = quotaStates[i] as QuotaState;
    const { q, w } = policyOf(this.#quotas[i] as Quota, limit);
    const t = seconds(resetMs);
    if (this.#form === 'draft-7') {
      const other = /remaining=(\d+)/.exec(String(res.getHeader('RateLimit') ?? ''))?.[1];
      if (Number(other) <= remaining) return;
      res.setHeader('RateLimit-Policy', `${q};w=${w}`);
      res.setHeader('RateLimit', `limit=${q}, remaining=${remaining}, reset=${t}`);
      return;
    }
    const name = this.#form === 'legacy' ? 'X-RateLimit' : 'RateLimit';
    const other = res.getHeader(`${name}-Remaining`);
    if (Number(other) <= remaining) return;
    if (this.#form === 'draft-6') res.setHeader('RateLimit-Policy', `${q};w=${w}`);
    res.setHeader(`${name}-Limit`, q);
    res.setHeader(`${name}-Remaining`, remaining);
    res.setHeader(`${name}-Reset`, this.#form === 'legacy' ? seconds(Date.now() + resetMs) : t);
  }
}

const isTighter = (one: QuotaState, other: QuotaState): boolean =>
  one.remaining < other.remaining || (one.remaining === other.remaining && one.resetMs > other.resetMs);
