import type { ServerResponse } from 'node:http';
import type { RequestRecord } from './request-record.ts';

/** Adds `Server-Timing` (W3C) when the head goes out: milliseconds until then. A backend's own entries stay, before ours. */
export function writeServerTiming(res: ServerResponse, record: RequestRecord): void {
  const writeHead = res.writeHead as (...args: unknown[]) => ServerResponse;
  res.writeHead = (...args: unknown[]): ServerResponse => {
    if (!res.headersSent) {
      const { totalMs, backendMs } = record.times();
      const ours = `gateway;dur=${(totalMs - backendMs).toFixed(1)}, backend;dur=${backendMs.toFixed(1)}`;
      res.appendHeader('Server-Timing', ours);
    }
    return writeHead.apply(res, args);
  };
}
