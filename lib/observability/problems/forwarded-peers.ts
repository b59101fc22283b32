import { foldAddress } from '../../core/connection.ts';
import type { FinishedRequest } from '../request-record.ts';
import { LOOK_EVERY_MS } from './problem-monitor.ts';
import { WINDOW_MS } from './recent.ts';

/** Requests that are examined between two looks of the monitor. Such a sample is enough. */
const SAMPLE = 200;
/** Upper bounds of the peers, and of the clients of one peer, that are counted separately. */
const MOST_PEERS = 64;
const MOST_CLIENTS = 8;
const LOOKS = WINDOW_MS / LOOK_EVERY_MS;

/** Requests of one peer that sent `X-Forwarded-For` and is not trusted. */
export interface UntrustedPeer {
  requests: number;
  /** Of these, requests that got 429. */
  limited: number;
  /** Different clients in `X-Forwarded-For`, up to 8. */
  readonly clients: Set<string>;
}

interface Slot {
  /** Requests that were examined. */
  requests: number;
  readonly untrusted: Map<string, UntrustedPeer>;
  /** Requests with fewer entries in `X-Forwarded-For` than trusted hops, and how many entries they had at most. */
  tooFew: number;
  mostEntries: number;
  /** `trust proxy` as a number. */
  hops: number;
}

const emptySlot = (): Slot => ({ requests: 0, untrusted: new Map(), tooFew: 0, mostEntries: 0, hops: 0 });

type Trusting = FinishedRequest['req'] & { readonly app?: { get?(name: string): unknown } };

/** Examines a sample of the requests: which peers send `X-Forwarded-For`, and whether `trust proxy` fits. */
export class ForwardedPeers {
  #slots: Slot[] = [emptySlot()];

  saw({ req, client, status }: FinishedRequest): void {
    const slot = this.#slots.at(-1) as Slot;
    if (slot.requests >= SAMPLE) return;
    slot.requests += 1;
    const forwarded = req.headers['x-forwarded-for'];
    const hops = (req as Trusting).app?.get?.('trust proxy');
    if (typeof hops === 'number' && hops > 0) {
      const entries = forwarded === undefined ? 0 : String(forwarded).split(',').length;
      slot.hops = hops;
      if (entries >= hops) return;
      slot.tooFew += 1;
      slot.mostEntries = Math.max(slot.mostEntries, entries);
      return;
    }
    if (forwarded === undefined) return;
    const peer = foldAddress(req.socket?.remoteAddress);
    // If the peer is trusted, the client has another address than the peer.
    if (peer === undefined || peer !== client) return;
    let seen = slot.untrusted.get(peer);
    if (seen === undefined) {
      if (slot.untrusted.size >= MOST_PEERS) return;
      seen = { requests: 0, limited: 0, clients: new Set() };
      slot.untrusted.set(peer, seen);
    }
    seen.requests += 1;
    if (status === 429) seen.limited += 1;
    if (seen.clients.size < MOST_CLIENTS) seen.clients.add(String(forwarded));
  }

  /** Totals of the last ten seconds. */
  recent(): Slot {
    const all = emptySlot();
    for (const { requests, untrusted, tooFew, mostEntries, hops } of this.#slots) {
      all.requests += requests;
      all.tooFew += tooFew;
      all.mostEntries = Math.max(all.mostEntries, mostEntries);
      all.hops = hops || all.hops;
      for (const [peer, seen] of untrusted) {
        const sum = all.untrusted.get(peer) ?? { requests: 0, limited: 0, clients: new Set<string>() };
        sum.requests += seen.requests;
        sum.limited += seen.limited;
        for (const client of seen.clients) sum.clients.add(client);
        all.untrusted.set(peer, sum);
      }
    }
    return all;
  }

  /** Starts the next interval. Call it after each look. */
  turn(): void {
    this.#slots = [...this.#slots, emptySlot()].slice(-LOOKS);
  }
}
