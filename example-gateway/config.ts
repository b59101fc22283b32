import type { Host } from 'expressway/gateway';

/**
 * The options of each middleware. The gateway has read them from the variables in `.env` (all of them are in `.env.example`);
 * what no variable says is said here.
 */
export function middlewareOptions({ config, options }: Host) {
  return {
    trustProxy: config.trustProxy,
    shed: options.shedding,
    guard: options.guard,
    limit: options.limiter,
    circuit: { ...options.breaker, minimumRequests: config.circuit.minimumRequests },
    forward: options.proxy,
  };
}
