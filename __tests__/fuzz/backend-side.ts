import { all, CONTROL, nonceOf } from './head-reader.ts';
import { type ReadResponse, type ResponseReading, readResponses } from './response-reader.ts';
import { innocentRequest, type Rig } from './rig.ts';
import { ANSWER_FIELD, type BackendAnswer } from './strict-backend.ts';
import { turns, Wire } from './wire.ts';

export interface BackendCase extends BackendAnswer {
  readonly method: 'GET' | 'HEAD' | 'POST';
  readonly version: '1.0' | '1.1';
  readonly fresh: boolean;
}

/** Milliseconds for a connection that the backend has ended to be gone from the gateway. */
const ENDING_MS = 50;
/** Milliseconds to wait for an answer that may or may not be due. */
const PATIENCE_MS = 5;

/** Cases of bytes that a backend answers with: a client must see no more of them than the strictest of readers would. */
export class BackendSide {
  readonly #rig: Rig;
  #cases = 0;

  constructor(rig: Rig) {
    this.#rig = rig;
  }

  /** What is wrong, if anything. */
  async run(given: BackendCase): Promise<string[]> {
    const { slices, after, method, version, fresh } = given;
    const { backend, gateway } = this.#rig;
    const methods = [method];
    const reading = readResponses(Buffer.concat(slices), { methods, ended: after === 'end', most: 1 });
    const [meant] = reading.finals;
    this.#cases += 1;
    const name = String(this.#cases);
    backend.answers.set(name, given);
    const wire = new Wire(gateway.port);
    const content = method === 'POST' ? 'hello' : '';
    const length = method === 'POST' ? 'Content-Length: 5\r\n' : '';
    const head = `${method} /fuzz HTTP/${version}\r\nHost: gw.example\r\n${ANSWER_FIELD}: ${name}\r\nX-Nonce: own\r\n`;
    wire.socket.write(`${head}${length}Connection: keep-alive\r\n\r\n${content}`);
    const read = () => readResponses(wire.received, { methods, ended: wire.ended });
    const isDue = meant?.complete === true || after !== 'keep';
    const isOver = () => wire.over || read().finals[0]?.complete === true;
    const problems: string[] = [];
    if (!(await wire.until(isOver, isDue ? undefined : PATIENCE_MS)) && isDue) {
      problems.push(`O1: a hang: the client has ${JSON.stringify(wire.received.toString('latin1', 0, 200))}`);
    }
    // Else the next request could be on its way over a connection that ends.
    const until = Date.now() + ENDING_MS;
    while (backend.ending.size > 0 && Date.now() < until) await turns(1);
    backend.ending.clear();
    await turns(2);
    if (isOver()) problems.push(...checkAnswer(read(), reading, wire.ended));
    if (problems.length === 0 && isOver() && !wire.over && read().finals[0]?.close === false) {
      problems.push(...(await this.#sameConnection(wire, methods)));
    }
    wire.socket.destroy();
    problems.push(...(await this.#rig.aftermath(fresh)));
    backend.answers.delete(name);
    backend.arrived.length = 0;
    return problems.map(
      (problem) => `${problem} [${reading.end}${reading.why === undefined ? '' : `: ${reading.why}`}]`,
    );
  }

  async #sameConnection(wire: Wire, methods: readonly string[]): Promise<string[]> {
    const nonce = this.#rig.nonce();
    wire.socket.write(innocentRequest(nonce));
    const read = () => readResponses(wire.received, { methods, ended: wire.ended });
    if (!(await wire.until(() => wire.over || read().finals[1]?.complete === true)))
      return ['O1: the next request hangs'];
    const next = read().finals[1];
    const got = `${next?.status} ${nonceOf(next?.fields ?? [])} ${next?.content}`;
    return got === `200 ${nonce} ${nonce}` ? [] : [`O5: the next request on the connection got ${got}`];
  }
}

function checkAnswer(seen: ResponseReading, meant: ResponseReading, ended: boolean): string[] {
  const problems: string[] = [];
  if (seen.end === 'error') problems.push(`the client got no HTTP: ${seen.why}`);
  if (seen.finals.length > 1) problems.push('T08: a second answer to one request');
  const [answer] = seen.finals;
  // Cut before a status: nothing that a client could believe. But why was it not told?
  if (answer === undefined) return ended ? [...problems, 'O1: the connection ended without an answer'] : problems;
  if (CONTROL.test(answer.reason)) problems.push('control characters in the reason');
  if (isOwn(answer)) return problems;
  const [source] = meant.finals;
  if (!answer.complete) return problems;
  if (source === undefined) return [...problems, `T03: ${answer.status} out of an answer without a good head`];
  if (!source.complete) problems.push('T01: an answer that is not whole looks whole');
  else if (!answer.content.equals(source.content)) problems.push('the client got other content');
  if (answer.status !== source.status) problems.push(`the client got ${answer.status} for ${source.status}`);
  return problems;
}

/** The gateway's own refusal. */
const isOwn = ({ status, fields }: ReadResponse) => status >= 500 && all(fields, 'proxy-status').length > 0;
