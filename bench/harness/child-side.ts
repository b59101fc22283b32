/** One question of the parent; `id` pairs it with its reply. */
export interface Question {
  readonly id: number;
  readonly ask: string;
  readonly argument: unknown;
}

export interface Reply {
  readonly id: number;
  readonly value?: unknown;
  readonly error?: string;
}

/** The first message of every child: it may be used now. */
export interface Ready {
  readonly ready: unknown;
}

export type Answers = Readonly<Record<string, (argument: never) => unknown>>;

/** What a process has used so far. */
export interface Usage {
  /** User and system time of all its threads. */
  readonly cpuMicros: number;
  readonly rssBytes: number;
}

export function usage(): Usage {
  const cpu = process.cpuUsage();
  return { cpuMicros: cpu.user + cpu.system, rssBytes: process.memoryUsage.rss() };
}

/** Makes this process a child of the harness: answers its questions and ends with it. */
export function serveParent(ready: unknown, answers: Answers): void {
  if (process.send === undefined) {
    // Started by hand: useful to look at one target alone.
    process.stdout.write(`${JSON.stringify(ready)}\n`);
    return;
  }
  const all: Answers = { usage, ...answers };
  process.on('message', (question: Question) => {
    void reply(all, question).then((message) => process.send?.(message));
  });
  // The parent may have been killed without a chance to end its children.
  process.on('disconnect', () => process.exit());
  process.send({ ready } satisfies Ready);
}

async function reply(answers: Answers, question: Question): Promise<Reply> {
  try {
    const answer = answers[question.ask];
    if (answer === undefined) throw new Error(`unknown question "${question.ask}"`);
    return { id: question.id, value: await answer(question.argument as never) };
  } catch (error) {
    return { id: question.id, error: error instanceof Error ? (error.stack ?? error.message) : String(error) };
  }
}
