import type { IncomingMessage, ServerResponse } from 'node:http';
import { leaveUnread } from '../../core/unread-content.ts';

/**
 * Headers of all responses that a browser may show. The browser loads only our own files, no other page may frame it, and no script can turn
 * text into markup.
 */
const FOR_BROWSERS = {
  'Content-Security-Policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; " +
    "frame-ancestors 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
  'X-Content-Type-Options': 'nosniff',
  'Referrer-Policy': 'no-referrer',
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Cache-Control': 'no-store',
};

export const isRead = ({ method }: IncomingMessage): boolean => method === 'GET' || method === 'HEAD';

export function setBrowserFields(res: ServerResponse): void {
  for (const [name, value] of Object.entries(FOR_BROWSERS)) res.setHeader(name, value);
}

export function sendText(res: ServerResponse, status: number, type: string, text: string | Buffer): void {
  leaveUnread(res);
  res.writeHead(status, { 'Content-Type': type, 'Content-Length': Buffer.byteLength(text) });
  // Node sends no body in a response to HEAD.
  res.end(text);
}

export function sendJson(res: ServerResponse, status: number, content: object): void {
  sendText(res, status, 'application/json', `${JSON.stringify(content)}\n`);
}

/** RFC 9457. */
export function sendProblem(res: ServerResponse, status: number, title: string, detail?: string): void {
  const problem = { type: 'about:blank', title, status, detail };
  sendText(res, status, 'application/problem+json', `${JSON.stringify(problem)}\n`);
}

export function refuseMethod(res: ServerResponse, allowed: string): void {
  res.setHeader('Allow', allowed);
  sendProblem(res, 405, 'Method not allowed');
}
