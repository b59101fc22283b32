import type { TestGateway } from '../support/gateway.ts';
import { hardenedGateway } from '../support/hardened-gateway.ts';
import { pause } from '../support/pause.ts';
import { all } from './head-reader.ts';
import { readResponses } from './response-reader.ts';
import { StrictBackend } from './strict-backend.ts';
import { DEADLINE_MS, Wire } from './wire.ts';

/** Kinds of handles that a gateway opens. */
const LEFT_OVER = new Set(['TCPSocketWrap', 'TCPServerWrap']);

const openHandles = () => process.getActiveResourcesInfo().filter((name) => LEFT_OVER.has(name)).length;

/** For a busy machine: what is left over for ever is left over after this time as well. */
const PATIENCE_MS = 15_000;

async function waitWhile(condition: () => boolean | Promise<boolean>): Promise<void> {
  const until = Date.now() + PATIENCE_MS;
  while ((await condition()) && Date.now() < until) await pause('until the next look', 5);
}

/** The gateway under test and its backend, in this process, and those who watch that nothing goes wrong around a case. */
export class Rig {
  readonly gateway: TestGateway;
  readonly backend: StrictBackend;
  /** Rejections, exceptions and warnings that nobody awaited. */
  readonly #alarms: string[] = [];
  readonly #handlesBefore: number;
  readonly #listeners: readonly (readonly [string, (problem: unknown) => void])[];
  /** A client that has nothing to do with any case. */
  #bystander: Wire | undefined;
  #nonces = 0;

  private constructor(gateway: TestGateway, backend: StrictBackend, handlesBefore: number) {
    this.gateway = gateway;
    this.backend = backend;
    this.#handlesBefore = handlesBefore;
    const alarm = (kind: string) => (problem: unknown) => {
      // Meant for whoever runs the gateway: a client may send what looks like a proxy's, and it is told once.
      if (problem instanceof Error && problem.name === 'ExpresswayMisuseWarning') return;
      this.#alarms.push(`${kind}: ${problem instanceof Error ? problem.stack : problem}`);
    };
    this.#listeners = ['unhandledRejection', 'uncaughtException', 'warning'].map(
      (kind) => [kind, alarm(kind)] as const,
    );
    for (const [kind, listener] of this.#listeners) process.on(kind, listener);
  }

  static async start(): Promise<Rig> {
    const handlesBefore = openHandles();
    const backend = await StrictBackend.start();
    const backends = [`http://127.0.0.1:${backend.port}`];
    // The circuit would keep the next case from the backend.
    const gateway = await hardenedGateway({ backends, isFailure: () => false }, { maxRequestsPerConnection: 0 });
    return new Rig(gateway, backend, handlesBefore);
  }

  nonce(): string {
    this.#nonces += 1;
    return `innocent-${this.#nonces}`;
  }

  /** What is wrong after a case, whatever the case was. */
  async aftermath(fresh: boolean): Promise<string[]> {
    const problems = await this.#innocent(fresh);
    const until = Date.now() + DEADLINE_MS;
    while (this.gateway.proxy.load().inFlight > 0 && Date.now() < until) await pause('until the next look', 1);
    const { inFlight } = this.gateway.proxy.load();
    if (inFlight > 0) problems.push(`${inFlight} requests are still in flight`);
    return [...problems, ...this.backend.violations.splice(0), ...this.#alarms.splice(0)];
  }

  /** O5: an innocent request, on a connection of its own or on one that was there before. */
  async #innocent(fresh: boolean): Promise<string[]> {
    const nonce = this.nonce();
    if (this.#bystander?.over !== false) {
      // On a slow machine the gateway ends it after the keep-alive timeout; its own side is open by then.
      this.#bystander?.socket.destroy();
      this.#bystander = new Wire(this.gateway.port);
    }
    const wire = fresh ? new Wire(this.gateway.port) : this.#bystander;
    wire.received = Buffer.alloc(0);
    wire.socket.write(innocentRequest(nonce));
    const answer = () => readResponses(wire.received, { methods: [], ended: wire.ended }).finals[0];
    await wire.until(() => wire.over || answer()?.complete === true);
    const { status, fields = [], content } = answer() ?? {};
    if (fresh) wire.socket.destroy();
    const got = `${status} ${all(fields, 'x-nonce')} ${content}`;
    return got === `200 ${nonce} ${nonce}` ? [] : [`O5: an innocent request got ${got} in place of ${nonce}`];
  }

  /** Closes everything, and tells what is left over. */
  async close(): Promise<string[]> {
    this.#bystander?.socket.destroy();
    const problems: string[] = [];
    const connections = () =>
      new Promise<number>((resolve) => this.gateway.server.getConnections((_error, count) => resolve(count)));
    await waitWhile(async () => (await connections()) > 0);
    if ((await connections()) > 0) problems.push(`${await connections()} connections of clients are left over`);
    // A connection that nobody knows of any more would hold it up for ever.
    await Promise.race([this.gateway.close(), pause('it has had its time to close', PATIENCE_MS)]);
    await waitWhile(() => this.backend.connections.size > 0);
    if (this.backend.connections.size > 0) {
      problems.push(`${this.backend.connections.size} connections to the backend are left over`);
    }
    await this.backend.close();
    await waitWhile(() => openHandles() > this.#handlesBefore);
    const handles = openHandles() - this.#handlesBefore;
    if (handles > 0) problems.push(`${handles} handles are left over: ${process.getActiveResourcesInfo()}`);
    for (const [kind, listener] of this.#listeners) process.off(kind, listener);
    return [...problems, ...this.#alarms];
  }
}

export function innocentRequest(nonce: string, fields = ''): string {
  return `GET /innocent HTTP/1.1\r\nHost: gw.example\r\nX-Nonce: ${nonce}\r\n${fields}\r\n`;
}
