import type { ClientRateLimitInfo } from 'express-rate-limit';

/** Counts that all gateways share, for one era of the connection: after a failure they are made anew. */
export interface SharedCounts {
  /** Settles when the store is known to work, or not. */
  readonly loaded: Promise<void>;
  /** Counts one hit. Rejects when the store fails; has no deadline. */
  increment(key: string): Promise<ClientRateLimitInfo>;
  resetKey(key: string): Promise<void>;
}

/** Sends one command to Redis. Rejects when the connection is down, or when the reply is an error. */
export type Send = (args: readonly string[]) => Promise<unknown>;

export type OpenSharedCounts = (send: Send, windowMs: number) => SharedCounts;
