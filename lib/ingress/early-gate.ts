import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';

const kAdmittedBy = Symbol('expressway.admittedBy');

type Admitted = IncomingMessage & { [kAdmittedBy]?: EarlyGate };

/** A function sends the response of a rejected request. Call it after the present turn of the event loop. */
export type EarlyDecision = 'admitted' | 'rejected' | 'undecided' | (() => void);

/** Decides about requests before Node's parser reads them. */
export interface EarlyGate {
  /** Whether the gate may reject requests now; if not, `decide()` is not called. */
  readonly isShedding: boolean;
  /** Called once with the bytes of a request. If the gate rejects the request, it also sends the response, now or later. */
  decide(bytes: Buffer, socket: Socket): EarlyDecision;
}

export function noteAdmitted(req: IncomingMessage, gate: EarlyGate): void {
  (req as Admitted)[kAdmittedBy] = gate;
}

/** Whether a gate has admitted a request before it was parsed. */
export const wasAdmitted = (req: IncomingMessage, gate: EarlyGate): boolean => (req as Admitted)[kAdmittedBy] === gate;
