import { Client } from 'undici';
import type { Probe, ProbeAnswer } from '../backends/health-check.ts';

/** Bytes of an answer's content that are read; a check looks at no more. */
const MAX_CONTENT = 65_536;

/**
 * Asks a backend over a connection that is made for it and closed after: the check takes nothing from the traffic,
 * never waits behind it, and sees whether connections can still be made.
 */
export const healthProbe: Probe = async ({ origin, authority }, { path, timeoutMs, signal }) => {
  const client = new Client(origin, {
    pipelining: 0,
    allowH2: false,
    // The signal ends the rest; an attempt to connect does not hear it, and would go on for minutes.
    connectTimeout: timeoutMs,
    headersTimeout: 0,
    bodyTimeout: 0,
  });
  const abort = (): void => void client.destroy(signal.reason);
  signal.addEventListener('abort', abort);
  try {
    // The authority is also the name that undici has the certificate checked for.
    const headers = { host: authority, 'user-agent': 'expressway-health-check' };
    const { statusCode, body } = await client.request({ path, method: 'GET', headers, reset: true });
    return { status: statusCode, content: await beginning(body) } satisfies ProbeAnswer;
  } catch (error) {
    return error as Error;
  } finally {
    signal.removeEventListener('abort', abort);
    void client.destroy();
  }
};

async function beginning(body: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes >= MAX_CONTENT) break;
  }
  return Buffer.concat(chunks).subarray(0, MAX_CONTENT).toString();
}
