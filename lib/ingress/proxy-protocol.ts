import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import { foldAddress } from '../core/connection.ts';
import { deadline } from '../core/delay.ts';
import { eventsCheck, type GatewayEvents } from '../core/gateway-events.ts';
import { notPromise } from '../core/http.ts';
import { type Checks, durationMs, func, OptionsError, optional, resolveOptions } from '../core/options.ts';
import type { RejectionCause } from '../core/outcome.ts';
import { warnOfThrow } from '../core/warnings.ts';
import { assertHttpServer } from './http-server.ts';
import { type ProxySource, readProxyHeader } from './proxy-header.ts';

/** Options of `proxyProtocol()`. */
export interface ProxyProtocolOptions {
  /**
   * Whether the peer at an address is a load balancer that sends the header. Its connections must begin with the header, and those of other
   * peers must not. To use the proxies that an app trusts: `(address) => app.get('trust proxy fn')(address, 0)`.
   */
  isTrusted: (address: string) => boolean;
  /**
   * Milliseconds in which a load balancer must send the header.
   * @default 5000
   */
  headerTimeoutMs?: number;
  /** Emitter of the event `clientRefused`. Default: none. */
  events?: GatewayEvents;
}

/** Defaults of {@link ProxyProtocolOptions}. */
export const proxyProtocolDefaults = Object.freeze({ headerTimeoutMs: 5_000 });

type Settings = ProxyProtocolOptions & typeof proxyProtocolDefaults;

const checks: Checks<ProxyProtocolOptions> = {
  isTrusted: func,
  headerTimeoutMs: durationMs,
  events: optional(eventsCheck),
};

/** An error there would end the process, and every promise would count as true. */
function trusts({ isTrusted }: Settings, peer: string): boolean {
  try {
    return Boolean(notPromise(isTrusted(peer), 'isTrusted'));
  } catch (error) {
    const what = 'isTrusted of proxyProtocol() threw, the peer counts as a client';
    warnOfThrow(isTrusted, 'WARN_EXPRESSWAY_LISTENER', what, error);
    return false;
  }
}

type Emit = (event: string, ...args: unknown[]) => boolean;
/** Node keeps the socket below a TLS socket in `_parent`. */
type Secured = Socket & { readonly _parent?: Socket | null };

/**
 * Reads the header of the PROXY protocol (versions 1 and 2) that a load balancer sends before the bytes of a client, TLS included. From then
 * on, `remoteAddress` and `remotePort` of the connection are those of the client, for limits, logs, `X-Forwarded-For` and all other code.
 *
 * The server closes the connection of a trusted peer that sends no valid header. It does not read the header from other peers: their header
 * is a bad request, or a bad handshake.
 *
 * ```ts
 * const server = proxyProtocol(hardenServer(createServer(app)), { isTrusted: (address) => address === '10.0.0.5' });
 * server.listen(8080);
 * ```
 *
 * @returns the server.
 * @throws {OptionsError} that names each unknown key and each bad value, for a server that already listens, and for a value that is no
 *   server of `node:http` or `node:https`.
 */
export function proxyProtocol<S extends Server>(server: S, given: ProxyProtocolOptions): S {
  assertHttpServer('proxyProtocol', server);
  const settings = resolveOptions('proxyProtocol', given, proxyProtocolDefaults, checks);
  if (server.listening) throw new OptionsError('proxyProtocol', ['the server must not listen yet']);
  // Not with a listener, because a listener cannot stop Node's own and other listeners.
  const emit: Emit = server.emit;
  const waiting = new Set<Socket>();
  const sources = new WeakMap<Socket, ProxySource>();
  function emitWithSource(this: Server, event: string, ...args: unknown[]): boolean {
    if (event === 'connection') {
      const [socket] = args as [Socket];
      const peer = foldAddress(socket.remoteAddress);
      // The peer has left already, or the connection is one in memory.
      if (peer === undefined || !trusts(settings, peer)) return emit.call(this, event, ...args);
      waiting.add(socket);
      socket.once('close', () => waiting.delete(socket));
      awaitHeader(socket, peer, settings, (source) => {
        waiting.delete(socket);
        if (source !== undefined) {
          sources.set(socket, source);
          nameSource(socket, source);
        }
        emit.call(this, event, socket);
      });
      return true;
    }
    if (event === 'secureConnection' || event === 'tlsClientError') {
      const socket = args[event === 'secureConnection' ? 0 : 1] as Secured;
      const source = socket._parent && sources.get(socket._parent);
      if (source) nameSource(socket, source);
    }
    return emit.call(this, event, ...args);
  }
  server.emit = emitWithSource;
  const { closeAllConnections } = server;
  server.closeAllConnections = () => {
    for (const socket of waiting) socket.destroy();
    closeAllConnections.call(server);
  };
  return server;
}

/** @param accept Called in a later turn; `undefined` means that the connection keeps the address of the peer. */
function awaitHeader(
  socket: Socket,
  address: string,
  { headerTimeoutMs, events }: Settings,
  accept: (source: ProxySource | undefined) => void,
): void {
  let read: Buffer = Buffer.alloc(0);
  const refuse = (cause: RejectionCause, detail: string): void => {
    events?.emit('clientRefused', { cause, detail, address, exchange: undefined });
    socket.destroy();
  };
  const stopTimer = deadline(headerTimeoutMs, () =>
    refuse('client_timeout', `The PROXY protocol header did not come within ${headerTimeoutMs} ms.`),
  );
  const failed = (): void => void socket.destroy();
  const ended = (): void => {
    // Health checks of load balancers connect, and close the connection without sending anything.
    if (read.length === 0) socket.destroy();
    else refuse('bad_request', 'The connection ended within the PROXY protocol header.');
  };
  const done = (): void => {
    stopTimer();
    socket.off('readable', look).off('end', ended).off('close', done);
  };
  const look = (): void => {
    const chunk = socket.read() as Buffer | null;
    if (chunk === null) return;
    read = read.length === 0 ? chunk : Buffer.concat([read, chunk]);
    const header = readProxyHeader(read);
    if (header === 'more') return;
    if (header === 'invalid') {
      done();
      refuse('bad_request', 'A trusted peer must send a PROXY protocol header first.');
      return;
    }
    done();
    if (read.length > header.length) socket.unshift(read.subarray(header.length));
    // In the next tick, the stream has noticed that this listener was removed.
    process.nextTick(() => {
      socket.off('error', failed);
      if (socket.destroyed || socket.readableEnded) socket.destroy();
      else accept(header.source);
    });
  };
  socket.on('readable', look).on('end', ended).on('error', failed).on('close', done);
}

function nameSource(socket: Socket, { address, port, family }: ProxySource): void {
  Object.defineProperties(socket, {
    remoteAddress: { value: address, configurable: true, enumerable: true },
    remotePort: { value: port, configurable: true, enumerable: true },
    remoteFamily: { value: family, configurable: true, enumerable: true },
  });
}
