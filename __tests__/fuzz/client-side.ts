import { pause } from '../support/pause.ts';
import { all, type Field, nonceOf } from './head-reader.ts';
import { pathOf, type ReadRequest, readRequests } from './request-reader.ts';
import { type ReadResponse, readResponses } from './response-reader.ts';
import { innocentRequest, type Rig } from './rig.ts';
import type { Arrived } from './strict-backend.ts';
import { turns, Wire } from './wire.ts';

export interface ClientCase {
  readonly slices: readonly Buffer[];
  /** The client breaks off as soon as it has sent everything. */
  readonly aborts: boolean;
  /** The innocent request afterwards comes on a new connection. */
  readonly fresh: boolean;
}

/** What a gateway that trusts no peer never sends on from a client. */
const NEVER_SENT = /^(?:forwarded|x-real-ip|keep-alive|proxy-connection|proxy-authorization|http2-settings|expect)$/;
const ALIAS =
  /^(?:content[-_]length|transfer[-_]encoding|x[-_]forwarded[-_](?:for|host|proto|port|prefix)|x[-_]real[-_]ip)$/;

/** Cases of bytes that a client sends: what reaches the backend must be what the strictest of readers would read. */
export class ClientSide {
  readonly #rig: Rig;
  /** What the case before could have sent on: its bytes may arrive late. */
  #before: readonly ReadRequest[] = [];

  constructor(rig: Rig) {
    this.#rig = rig;
  }

  /** What is wrong, if anything. */
  async run({ slices, aborts, fresh }: ClientCase): Promise<string[]> {
    const reading = readRequests(Buffer.concat(slices));
    const wire = new Wire(this.#rig.gateway.port);
    const nonce = this.#rig.nonce();
    // On the same connection, if the case leaves it open (O5).
    const follow = reading.end === 'clean' && !aborts;
    const own = follow ? readRequests(Buffer.from(innocentRequest(nonce, 'Connection: close\r\n'))).requests : [];
    const requests = [...reading.requests, ...own];
    const behind = reading.behindUpgrade ?? [];
    await wire.send(slices);
    if (follow) wire.socket.write(innocentRequest(nonce, 'Connection: close\r\n'));
    const problems: string[] = [];
    if (aborts) {
      await turns(3);
      wire.socket.resetAndDestroy();
    } else {
      problems.push(...(await this.#answers(wire, requests, behind, reading.end)));
    }
    problems.push(...(await this.#rig.aftermath(fresh)));
    const switched = wire.received.includes('HTTP/1.1 101 ');
    problems.push(...this.#arrivals(switched ? requests : [...requests, ...behind]));
    return problems.map(
      (problem) => `${problem} [${reading.end}${reading.why === undefined ? '' : `: ${reading.why}`}]`,
    );
  }

  async #answers(
    wire: Wire,
    requests: readonly ReadRequest[],
    behind: readonly ReadRequest[],
    end: string,
  ): Promise<string[]> {
    const possible = [...requests, ...behind];
    const known = possible.map(({ method }) => method);
    const readFor = (methods: readonly string[]) =>
      readResponses(wire.received, { methods, ended: wire.ended, upgrades: end === 'upgrade' });
    const read = () => {
      const reading = readFor(known);
      if (reading.end === 'clean' || reading.end === 'upgrade') return reading;
      // Whether a refused request was a HEAD, only the parser knows that refused it, and ours may see it otherwise.
      const others = [
        readFor([...known, 'HEAD']),
        readFor(known.map((method) => (method === 'HEAD' ? 'GET' : method))),
      ];
      return others.find(({ end, finals }) => end === 'clean' && finals.at(-1)?.close === true) ?? reading;
    };
    const due = requests.filter(({ complete }) => complete).length;
    const answered = await wire.until(
      () => wire.over || read().finals.filter(({ complete }) => complete).length >= due,
    );
    if (!answered) {
      const { finals } = read();
      wire.socket.destroy();
      return [`O1: a hang: ${finals.length} of ${due} answers (${finals.map(({ status }) => status)})`];
    }
    const isWhole = end === 'clean' || end === 'closed';
    if (!isWhole && !wire.over) await pause('a refusal may come, or what must not come', 2);
    const leftFirst = !isWhole && !wire.over;
    if (!(await wire.end())) return ['O4: the connection stays open'];
    const { finals, end: last, why } = read();
    const problems = finals.flatMap((answer, index) => checkAnswer(answer, possible[index], finals.length - 1 - index));
    if (last === 'error') problems.push(`the client got no HTTP: ${why}`);
    if (last === 'incomplete' && !leftFirst) problems.push('the client got half an answer');
    return problems;
  }

  /** O2, O3. */
  #arrivals(requests: readonly ReadRequest[]): string[] {
    const problems: string[] = [];
    const open = [...requests];
    const arrived = this.#rig.backend.arrived.splice(0).filter(({ request }) => request.target !== '/innocent');
    for (const arrival of arrived) {
      const { method, target } = arrival.request;
      const meant = (one: ReadRequest) => one.method === method && pathOf(one.target) === target;
      const fits = (one: ReadRequest) => meant(one) && isSame(one, arrival);
      const index = open.findIndex(fits);
      if (index >= 0) open.splice(index, 1);
      else if (!this.#before.some(fits)) {
        problems.push(`O2: ${method} ${target} arrived${open.some(meant) ? ', with other content' : ''}`);
      }
      problems.push(...checkFields(arrival.request.fields));
    }
    this.#before = requests;
    return problems;
  }
}

function isSame(sent: ReadRequest, { request, complete }: Arrived): boolean {
  if (!complete || sent.upgrade) return true;
  return sent.complete && request.content.equals(sent.content) && request.nonce === sent.nonce;
}

function checkAnswer(answer: ReadResponse, request: ReadRequest | undefined, more: number): string[] {
  const { status, fields, content, close } = answer;
  const problems: string[] = [];
  if (close && more > 0) problems.push('O4: more answers after one that closes the connection');
  const ok = status === 200 && all(fields, 'x-nonce').length > 0;
  if (ok && request === undefined) problems.push('O2: an answer to no request');
  if (ok && request !== undefined && request.nonce !== nonceOf(fields))
    problems.push('O5: the answer to another request');
  if (ok && request?.method !== 'HEAD' && content.toString() !== nonceOf(fields)) problems.push('O5: other content');
  if (status >= 500 && ![501, 505].includes(status)) problems.push(`O1: the gateway answered ${status}: ${content}`);
  return problems;
}

function checkFields(fields: readonly Field[]): string[] {
  const problems: string[] = [];
  const count = (name: string) => all(fields, name).length;
  if (count('host') !== 1) problems.push(`O3: ${count('host')} Host fields`);
  if (count('content-length') + count('transfer-encoding') > 1) problems.push('O3: framed in two ways');
  const client = all(fields, 'x-forwarded-for').join();
  if (client !== '127.0.0.1') problems.push(`K9: X-Forwarded-For is ${client}`);
  for (const [name] of fields) {
    if (NEVER_SENT.test(name) || (name.includes('_') && ALIAS.test(name))) problems.push(`K1: ${name} was sent on`);
  }
  return problems;
}
