import type { Server } from 'node:https';
import type { Socket } from 'node:net';
import { createSecureContext, createServer, type SecureContext } from 'node:tls';
import { type AcmeStore, challengeName } from './acme-store.ts';

const PROTOCOL = 'acme-tls/1';
/** The protocol as a ClientHello lists it, with its length first (RFC 7301 §3.1). */
const LISTED = Buffer.from(`\n${PROTOCOL}`);
const HANDSHAKE = 0x16;
const RECORD_HEAD = 5;
/** RFC 8446 §5.1. */
const LONGEST_RECORD = 16_384;

/**
 * Makes a TLS server respond to tls-alpn-01 (RFC 8737): a client that offers `acme-tls/1` gets the certificate of the challenge, and nothing
 * else. Other clients are served as before. Node chooses the certificate before it reads the list of protocols, so this function reads
 * the first record of each connection.
 *
 * @param store Has the certificates of challenges.
 * @param timeoutMs How long a client may take for that record.
 */
export function respondToAlpnChallenges(server: Server, store: AcmeStore, timeoutMs: number): void {
  const challenged = createServer(
    {
      ALPNProtocols: [PROTOCOL],
      handshakeTimeout: timeoutMs,
      SNICallback: (domain, done) => void contextFor(store, domain).then((context) => done(null, context), done),
    },
    (socket) => socket.destroy(),
  );
  challenged.on('tlsClientError', (_, socket) => socket.destroy());
  const [accept] = server.listeners('connection') as [(socket: Socket) => void];
  server.off('connection', accept);
  server.on('connection', (socket: Socket) => {
    readFirstRecord(socket, timeoutMs, (record) => {
      if (record.includes(LISTED)) challenged.emit('connection', socket);
      else accept.call(server, socket);
    });
  });
}

async function contextFor(store: AcmeStore, domain: string): Promise<SecureContext | undefined> {
  const pem = /^[a-z\d.-]+$/i.test(domain) ? await store.read(challengeName(domain.toLowerCase())) : undefined;
  return pem === undefined ? undefined : createSecureContext({ cert: pem, key: pem });
}

/** Reads up to the end of the first TLS record, if it is one, and puts all bytes back. */
function readFirstRecord(socket: Socket, timeoutMs: number, done: (record: Buffer) => void): void {
  let read: Buffer = Buffer.alloc(0);
  const destroy = (): void => void socket.destroy();
  const timer = setTimeout(destroy, timeoutMs).unref();
  const stop = (): void => {
    clearTimeout(timer);
    socket.off('readable', look).off('end', destroy).off('close', stop);
  };
  const look = (): void => {
    const chunk = socket.read() as Buffer | null;
    if (chunk === null) return;
    read = read.length === 0 ? chunk : Buffer.concat([read, chunk]);
    if (!isWhole(read)) return;
    stop();
    socket.unshift(read);
    // In the next tick, the stream has noticed that this listener was removed.
    process.nextTick(() => {
      socket.off('error', destroy);
      if (socket.destroyed) return;
      done(read);
    });
  };
  socket.on('readable', look).on('end', destroy).on('error', destroy).on('close', stop);
}

function isWhole(read: Buffer): boolean {
  if (read[0] !== HANDSHAKE) return true;
  if (read.length < RECORD_HEAD) return false;
  return read.length >= RECORD_HEAD + Math.min(read.readUInt16BE(3), LONGEST_RECORD);
}
