/** What is used of a node-redis client (`createClient()` of redis 5 or 6). */
export interface RedisClient {
  readonly isOpen: boolean;
  readonly isReady: boolean;
  connect(): Promise<unknown>;
  sendCommand(args: readonly string[], options?: { timeout?: number | undefined }): Promise<unknown>;
  on(event: string, listener: (error: Error) => void): unknown;
  off(event: string, listener: (error: Error) => void): unknown;
  getMaxListeners(): number;
  setMaxListeners(count: number): unknown;
}

const METHODS = ['connect', 'sendCommand', 'on', 'off', 'getMaxListeners', 'setMaxListeners'] as const;

/** Says what keeps a value from being such a client. */
export function redisClientProblem(value: unknown): string | undefined {
  const problem = 'must be a client made with createClient() of redis, or a URL';
  if (typeof value !== 'object' || value === null) return problem;
  const client = value as Record<string, unknown>;
  if (typeof client.isReady !== 'boolean') return problem;
  if (METHODS.some((name) => typeof client[name] !== 'function')) return problem;
  // Clusters and sentinels have the same methods, but their sendCommand() takes other arguments.
  if ('masters' in client || 'getSentinelNode' in client) return `${problem}; clusters and sentinels are not supported`;
  return undefined;
}
