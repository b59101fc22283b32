import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { type AddressInfo, isIPv4 } from 'node:net';

export interface SrvRecord {
  readonly target: string;
  readonly port: number;
  readonly weight?: number;
  readonly priority?: number;
}

/** What the server knows about one name. A type that is missing has no data. */
export interface DnsRecords {
  readonly a?: readonly string[];
  readonly aaaa?: readonly string[];
  readonly srv?: readonly SrvRecord[];
  /** Seconds. Default 60. */
  readonly ttl?: number;
}

const TYPES = { a: 1, aaaa: 28, srv: 33 } as const;
const SERVFAIL = 2;
const NXDOMAIN = 3;

/** A name server on loopback (RFC 1035, UDP only): it answers with what its records say at that moment. */
export class DnsServer {
  /** By name, in lower case; `fail` answers SERVFAIL, `silent` nothing at all. */
  readonly records = new Map<string, DnsRecords | 'fail' | 'silent'>();
  /** Questions in the order in which they came, like `a api.test`. */
  readonly questions: string[] = [];
  readonly #socket: Socket;
  #unanswered: (readonly [Buffer, RemoteInfo])[] = [];

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('message', (message, from) => this.#asked(message, from));
  }

  static async start(): Promise<DnsServer> {
    const socket = createSocket('udp4');
    const server = new DnsServer(socket);
    await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve));
    return server;
  }

  /** For `dns.servers`. */
  get address(): string {
    return `127.0.0.1:${(this.#socket.address() as AddressInfo).port}`;
  }

  close(): Promise<void> {
    return new Promise((resolve) => this.#socket.close(() => resolve()));
  }

  /** Answers the questions that met silence, with what the records say now. */
  answerLate(): void {
    for (const [message, from] of this.#unanswered.splice(0)) this.#answer(message, from);
  }

  #asked(message: Buffer, from: RemoteInfo): void {
    const { name, kind } = readQuestion(message);
    this.questions.push(`${kind} ${name}`);
    if (this.records.get(name) === 'silent') this.#unanswered.push([message, from]);
    else this.#answer(message, from);
  }

  #answer(message: Buffer, from: RemoteInfo): void {
    const { name, kind, end } = readQuestion(message);
    const known = this.records.get(name);
    const status = known === undefined ? NXDOMAIN : known === 'fail' ? SERVFAIL : 0;
    const answers = status === 0 && kind !== undefined ? answersOf(known as DnsRecords, kind) : [];
    const head = Buffer.alloc(12);
    message.copy(head, 0, 0, 2);
    // An answer, authoritative, recursion available.
    head.writeUInt16BE(0x8580 | status, 2);
    head.writeUInt16BE(1, 4);
    head.writeUInt16BE(answers.length, 6);
    this.#socket.send(Buffer.concat([head, message.subarray(12, end), ...answers]), from.port, from.address);
  }
}

function readQuestion(message: Buffer): { name: string; kind: keyof typeof TYPES | undefined; end: number } {
  const labels: string[] = [];
  let at = 12;
  for (let length = message[at++]; length; length = message[at++]) {
    labels.push(message.toString('latin1', at, at + length));
    at += length;
  }
  const type = message.readUInt16BE(at);
  const kind = (Object.keys(TYPES) as (keyof typeof TYPES)[]).find((one) => TYPES[one] === type);
  return { name: labels.join('.').toLowerCase(), kind, end: at + 4 };
}

function answersOf(records: DnsRecords, kind: keyof typeof TYPES): Buffer[] {
  const data = {
    a: () => (records.a ?? []).map((address) => Buffer.from(address.split('.').map(Number))),
    aaaa: () => (records.aaaa ?? []).map(ipv6Bytes),
    srv: () => (records.srv ?? []).map(srvBytes),
  }[kind]();
  return data.map((bytes) => {
    const head = Buffer.alloc(12);
    // A pointer to the name in the question.
    head.writeUInt16BE(0xc00c, 0);
    head.writeUInt16BE(TYPES[kind], 2);
    head.writeUInt16BE(1, 4);
    head.writeUInt32BE(records.ttl ?? 60, 6);
    head.writeUInt16BE(bytes.length, 10);
    return Buffer.concat([head, bytes]);
  });
}

function srvBytes({ target, port, weight = 0, priority = 0 }: SrvRecord): Buffer {
  const head = Buffer.alloc(6);
  head.writeUInt16BE(priority, 0);
  head.writeUInt16BE(weight, 2);
  head.writeUInt16BE(port, 4);
  const labels = target === '.' ? [] : target.split('.');
  return Buffer.concat([
    head,
    ...labels.map((label) => Buffer.from(String.fromCharCode(label.length) + label, 'latin1')),
    Buffer.from([0]),
  ]);
}

function ipv6Bytes(address: string): Buffer {
  const groups = (text: string) => (text === '' ? [] : text.split(':'));
  const [head = '', tail] = address.split('::');
  const before = groups(head);
  const after = groups(tail ?? '');
  const zeros = Array(8 - before.length - after.length).fill('0');
  const bytes = Buffer.alloc(16);
  for (const [index, group] of [...before, ...zeros, ...after].entries()) {
    bytes.writeUInt16BE(Number.parseInt(group, 16), index * 2);
  }
  if (isIPv4(address)) throw new Error(`${address} is no IPv6 address`);
  return bytes;
}
