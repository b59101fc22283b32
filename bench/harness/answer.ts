/** Request field that carries the nonce; the backend puts it into its answer. */
export const NONCE_FIELD = 'x-nonce';

/** The same number of digits for every request, so that all answers have one length. */
export function nonceOf(count: number): string {
  return String(1_000_000_000 + (count % 1_000_000_000));
}

/** About 130 bytes of JSON, as a small API answer would be. */
export function answerFor(nonce: string): string {
  return `{"nonce":"${nonce}","id":4217,"name":"expressway","kind":"answer","tags":["gateway","bench"],"price":12.5,"stock":true,"page":1}`;
}

export const PATH = '/api/items';

/** A request for it, up to its nonce. */
export function requestHead(port: number): string {
  return `GET ${PATH} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nUser-Agent: expressway-bench\r\nAccept: application/json\r\nConnection: keep-alive\r\n${NONCE_FIELD}: `;
}

const NONCE = `\r\n${NONCE_FIELD}: `;
const ANY_NONCE = new RegExp(`\\r\\n${NONCE_FIELD}: *([^\\r]*)`, 'i');

/** The nonce of a request, by its head; empty where it has none. */
export function nonceIn(head: string): string {
  const at = head.indexOf(NONCE);
  // A gateway may write it in another way.
  if (at === -1) return ANY_NONCE.exec(head)?.[1] ?? '';
  return head.slice(at + NONCE.length, head.indexOf('\r\n', at + NONCE.length));
}
