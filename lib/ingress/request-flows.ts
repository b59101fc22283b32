import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import type { ConnectionWatcher } from './client-connections.ts';
import type { ConnectionResponses } from './connection-responses.ts';
import type { EarlyGate } from './early-gate.ts';
import { type FlowParts, flowOf, type RequestFlow, startFlow } from './request-flow.ts';
import { SharedReadBuffer } from './shared-read-buffer.ts';

const kFlows = Symbol('expressway.requestFlows');

/** Limits the requests in progress on each connection of a server. */
export class RequestFlows implements ConnectionWatcher {
  gate: EarlyGate | undefined;
  readonly #parts: FlowParts;

  constructor(server: Server, max: number, responses: ConnectionResponses) {
    this.#parts = { max, responses, shared: new SharedReadBuffer(read) };
    Object.assign(server, { [kFlows]: this });
  }

  opened(socket: Socket): void {
    startFlow(socket, this, this.#parts);
  }

  closed(): void {}
}

/** The limits for the connections of a server, if `hardenServer()` set them. */
export function flowsOf(server: Server): RequestFlows | undefined {
  return (server as { [kFlows]?: RequestFlows })[kFlows];
}

/** Callback for reads into the shared buffer. @returns whether to go on reading. */
function read(this: Socket, chunk: Buffer): boolean {
  const flow = flowOf(this) as RequestFlow;
  if (flow.isReleased) return this.push(Buffer.from(chunk));
  if (this.listenerCount('data') === 1) flow.take(chunk);
  // Other code, such as `linger()`, also listens, and may stop reading.
  else this.emit('data', Buffer.from(chunk));
  return true;
}
