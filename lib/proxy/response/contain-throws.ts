import { EventEmitter } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { type Exchange, knownExchange } from '../../core/exchange.ts';
import { cut } from '../../core/reject.ts';
import { warnOfThrow } from '../../core/warnings.ts';

const { emit: nodeEmit } = EventEmitter.prototype;

/** Catches the errors of an emitter's listeners. Node's streams emit outside of our calls, where an exception ends the process. */
export function containThrows(emitter: EventEmitter, threw: (what: string, error: unknown) => void): void {
  const { emit } = emitter;
  emitter.emit = function contained(this: EventEmitter, ...args: Parameters<typeof emit>): boolean {
    try {
      return Reflect.apply(emit, this, args);
    } catch (error) {
      threw(whatThrew(args[0]), error);
      return true;
    }
  };
}

/** The same for an exchange that is forwarded. A listener that throws costs its own connection only. */
export function containListeners(exchange: Exchange): void {
  // `upgradeHandler()` has done it.
  if (exchange.upgrade !== undefined) return;
  for (const message of [exchange.req, exchange.res]) {
    // One function for all messages: with a function for each, every call of `emit` would cost more.
    if (message.emit === nodeEmit) message.emit = emitContained;
    else if (message.emit !== emitContained)
      containThrows(message, (what, error) => listenerThrew(exchange, what, error));
  }
}

function emitContained(
  this: IncomingMessage | ServerResponse,
  ...args: [event: string | symbol, ...unknown[]]
): boolean {
  try {
    return Reflect.apply(nodeEmit, this, args);
  } catch (error) {
    const exchange = knownExchange(this as IncomingMessage) ?? knownExchange((this as ServerResponse).req);
    listenerThrew(exchange as Exchange, whatThrew(args[0]), error);
    return true;
  }
}

const whatThrew = (event: string | symbol): string => `A listener of "${String(event)}"`;

function listenerThrew(exchange: Exchange, what: string, error: unknown): void {
  warnOfListener(exchange.req, `${what} on a request or response`, error);
  if (!exchange.res.writableFinished) cut(exchange);
}

/** Warns of code of the app that threw in the middle of an exchange, once per server. */
export function warnOfListener(req: IncomingMessage, what: string, error: unknown): void {
  const socket = req.socket as (Socket & { readonly server?: object }) | undefined;
  warnOfThrow(socket?.server ?? req, 'WARN_EXPRESSWAY_LISTENER', `${what} threw, and its response was given up`, error);
}
