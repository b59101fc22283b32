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
