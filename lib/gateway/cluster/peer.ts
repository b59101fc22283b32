/** The process at the other end of an IPC channel: `process` for a worker, its child process for a primary. */
export interface Channel {
  readonly connected: boolean;
  send?(message: object, handle?: undefined, options?: undefined, callback?: (error?: Error | null) => void): boolean;
  on(event: 'message', listener: (message: unknown) => void): unknown;
}

/** Handles a question or message of the other side. The content is plain data. */
type Handler = (content: never) => unknown;

interface Question {
  readonly resolve: (content: never) => void;
  readonly reject: (error: Error) => void;
  readonly timer: NodeJS.Timeout | undefined;
}

/** Messages of this channel have `peer`; others are not ours. */
interface Message {
  readonly peer: 'ask' | 'send' | 'reply';
  readonly id?: number;
  readonly what?: string;
  readonly content?: unknown;
  readonly error?: string;
}

/** There was no reply in time. */
export class NoAnswer extends Error {}

/** Questions and replies over an IPC channel. Messages of one side arrive in order. */
export class Peer {
  readonly #channel: Channel;
  readonly #handlers = new Map<string, Handler>();
  readonly #questions = new Map<number, Question>();
  #lastId = 0;
  /** `Date.now()` of the last message from the other side. */
  heardAt = Date.now();

  constructor(channel: Channel) {
    this.#channel = channel;
    channel.on('message', (message) => {
      this.heardAt = Date.now();
      if (isMessage(message)) this.#receive(message);
    });
  }

  /** Sets the handler for a kind of question or message. An error that it throws is sent as the reply. */
  on<T>(what: string, handler: (content: T) => unknown): void {
    this.#handlers.set(what, handler as Handler);
  }

  /**
   * Sends a question. Rejects with the error of the other side, when the other side has gone, or with {@link NoAnswer}.
   *
   * @param timeoutMs `Infinity` to wait for as long as the other side lives.
   */
  ask<T>(what: string, content: unknown, timeoutMs: number): Promise<T> {
    this.#lastId += 1;
    const id = this.#lastId;
    return new Promise<T>((resolve, reject) => {
      const late = (): void => {
        this.#questions.delete(id);
        reject(new NoAnswer(`no reply to "${what}" within ${timeoutMs} ms`));
      };
      const timer = timeoutMs === Number.POSITIVE_INFINITY ? undefined : setTimeout(late, timeoutMs).unref();
      this.#questions.set(id, { resolve, reject, timer });
      this.#send({ peer: 'ask', id, what, content }, (error) => this.#settle(id)?.reject(error));
    });
  }

  /** Sends a message. Resolves when it has left this process, or cannot be sent. Whether it arrived is unknown. */
  send(what: string, content?: unknown): Promise<void> {
    return new Promise((resolve) => this.#send({ peer: 'send', what, content }, () => resolve(), resolve));
  }

  /** Call it when no reply can come any more. */
  close(): void {
    for (const id of [...this.#questions.keys()]) this.#settle(id)?.reject(new Error('the process has ended'));
  }

  #receive({ peer, id = 0, what = '', content, error }: Message): void {
    if (peer === 'reply') {
      const question = this.#settle(id);
      if (error === undefined) question?.resolve(content as never);
      else question?.reject(new Error(error));
      return;
    }
    const reply = (message: object): void => {
      if (peer === 'ask') this.#send({ peer: 'reply', id, ...message }, () => {});
    };
    void this.#handle(what, content, reply);
  }

  async #handle(what: string, content: unknown, reply: (message: object) => void): Promise<void> {
    try {
      const handler = this.#handlers.get(what);
      if (handler === undefined) throw new Error(`no handler for "${what}"`);
      const done = handler(content as never);
      // Most handlers are synchronous. Their reply is sent in the same turn.
      reply({ content: done instanceof Promise ? await done : done });
    } catch (error) {
      reply({ error: error instanceof Error ? error.message : String(error) });
    }
  }

  #settle(id: number): Question | undefined {
    const question = this.#questions.get(id);
    if (question === undefined) return undefined;
    clearTimeout(question.timer);
    this.#questions.delete(id);
    return question;
  }

  #send(message: Message, failed: (error: Error) => void, sent = (): void => {}): void {
    const { send, connected } = this.#channel;
    if (!connected || send === undefined) {
      failed(new Error('the process has gone'));
      return;
    }
    send.call(this.#channel, message, undefined, undefined, (error) => {
      if (error === null || error === undefined) sent();
      else failed(error);
    });
  }
}

const isMessage = (message: unknown): message is Message =>
  typeof message === 'object' && message !== null && 'peer' in message;
