import type { Server } from 'node:http';
import type { Socket } from 'node:net';

/** Number of connections that are kept free for new ones. */
const SPARE = 4;

/**
 * Makes room on a server that is nearly full: for each new connection, it closes the one that has been idle for longest. So a client that
 * leaves connections open cannot block the health endpoints.
 */
export function closeIdleConnections(
  server: Server,
  maxConnections: number,
  crowded?: (address: string, held: number, maxConnections: number) => void,
): void {
  const all = new Set<Socket>();
  /** Idle connections, the longest idle first. */
  const idle = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    all.add(socket);
    idle.add(socket);
    socket.once('close', () => {
      all.delete(socket);
      idle.delete(socket);
    });
    if (all.size <= maxConnections - SPARE) return;
    if (crowded !== undefined) reportMost(all, maxConnections, crowded);
    const [oldest] = idle;
    if (oldest !== socket) oldest?.destroy();
  });
  server.on('request', ({ socket }, res) => {
    idle.delete(socket);
    res.once('close', () => {
      if (!socket.destroyed) idle.add(socket);
    });
  });
}

function reportMost(
  all: ReadonlySet<Socket>,
  maxConnections: number,
  crowded: (address: string, held: number, maxConnections: number) => void,
): void {
  const held = new Map<string, number>();
  for (const { remoteAddress = '' } of all) held.set(remoteAddress, (held.get(remoteAddress) ?? 0) + 1);
  const [most] = [...held].sort(([, a], [, b]) => b - a);
  if (most !== undefined) crowded(most[0], most[1], maxConnections);
}
