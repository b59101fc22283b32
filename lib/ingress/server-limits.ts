import type { IncomingMessage, Server } from 'node:http';

const kTargetCap = Symbol('expressway.targetCap');

/** Node's own when a server says nothing. */
const DEFAULT_FIELD_CAP = 2_000;

type LimitedServer = Partial<Pick<Server, 'maxHeadersCount'>> & { [kTargetCap]?: number };

/** Has the checks of requests refuse longer targets on this server; 0 for any length. */
export function setTargetCap(server: Server, bytes: number): void {
  (server as LimitedServer)[kTargetCap] = bytes;
}

/** Bytes that a target on this request's server may have; 0 for any number. */
export function targetCap(req: IncomingMessage): number {
  return serverOf(req)?.[kTargetCap] ?? 0;
}

/** Number of fields at which this request's server reads no further; 0 for never. */
export function fieldCap(req: IncomingMessage): number {
  return serverOf(req)?.maxHeadersCount ?? DEFAULT_FIELD_CAP;
}

/** net.Server leaves itself on each connection that it accepts. */
function serverOf({ socket }: IncomingMessage): LimitedServer | undefined {
  return (socket as { server?: LimitedServer } | undefined)?.server;
}
