import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import {
  type Finding,
  type GatewayProblem,
  headlineOf,
  mergeProblems,
  type ProblemEvent,
  ProblemMonitor,
} from 'expressway';

beforeEach(() => {
  jest.useFakeTimers({ now: 1_000_000 });
});

afterEach(() => {
  jest.useRealTimers();
});

const finding = (subject: string, changes: Partial<Finding> = {}): Finding => ({
  subject,
  title: `${subject} is bad`,
  text: `${subject} does not work.`,
  ...changes,
});

/** A monitor of two kinds, of which each finds what it is given. */
function open(isState = false) {
  const found = { first: [] as Finding[], second: [] as Finding[] };
  const events: ProblemEvent[] = [];
  const kind = (problem: 'first' | 'second', severity: 'warning' | 'notice') => ({
    kind: { problem, severity, nextStep: `mend ${problem}`, isState },
    detector: { look: () => found[problem] },
  });
  const monitor = new ProblemMonitor([kind('first', 'warning'), kind('second', 'notice')], (event) =>
    events.push(event),
  );
  const states = () => events.map(({ state, problem }) => `${state} ${problem.problem} ${problem.subject}`);
  return { found, events, states, monitor };
}

describe('ProblemMonitor', () => {
  test('reports a problem once, then once a minute with the words of then, and that it is over', () => {
    const { found, states, events, monitor } = open();
    found.first = [finding('a')];
    jest.advanceTimersByTime(2_000);
    expect(states()).toEqual(['began first a']);
    jest.advanceTimersByTime(57_000);
    expect(states()).toHaveLength(1);
    found.first = [finding('a', { text: 'still' })];
    jest.advanceTimersByTime(4_000);
    expect(events.at(-1)).toMatchObject({ state: 'lasts', problem: { text: 'still', since: 1_002_000 } });
    found.first = [];
    jest.advanceTimersByTime(2_000);
    // One look that finds nothing is no end.
    expect(monitor.problems).toHaveLength(1);
    jest.advanceTimersByTime(4_000);
    expect(states()).toEqual(['began first a', 'lasts first a', 'over first a']);
    expect(monitor.problems).toEqual([]);
    monitor.close();
  });

  test('has the worst problem first, in any order of discovery', () => {
    const { found, monitor } = open();
    found.second = [finding('x', { severity: 'critical' }), finding('y')];
    found.first = [finding('a')];
    monitor.look();
    expect(monitor.problems.map(({ subject, severity }) => `${severity} ${subject}`)).toEqual([
      'critical x',
      'warning a',
      'notice y',
    ]);
    expect(monitor.problems[1]?.nextStep).toBe('mend first');
    monitor.close();
  });

  test('looks at states 50 ms after one has changed, and not at others', () => {
    for (const isState of [true, false]) {
      const { found, states, monitor } = open(isState);
      found.first = [finding('a')];
      monitor.soon();
      monitor.soon();
      jest.advanceTimersByTime(50);
      expect(states()).toEqual(isState ? ['began first a'] : []);
      monitor.close();
    }
  });

  test('names twenty subjects of a kind, and the number of the others', () => {
    const { found, monitor } = open();
    found.first = Array.from({ length: 1_000 }, (_, index) => finding(`b${index}`));
    monitor.look();
    expect(monitor.problems).toHaveLength(21);
    expect(monitor.problems.at(-1)?.text).toMatch(/980 more like this/);
    monitor.close();
  });

  test('is not disturbed by a detector that throws, and shows no control characters', () => {
    const warned = jest.spyOn(process, 'emitWarning').mockReturnValue();
    const throwing = {
      kind: { problem: 'third', severity: 'warning', nextStep: '' } as const,
      detector: {
        look: (): Finding[] => {
          throw new Error('bug');
        },
      },
    };
    const good = {
      kind: { problem: 'fourth', severity: 'warning', nextStep: '' } as const,
      detector: { look: () => [finding('a\u001b[2J')] },
    };
    const monitor = new ProblemMonitor([throwing, good], () => {});
    monitor.look();
    monitor.look();
    expect(monitor.problems.map(({ subject }) => subject)).toEqual(['a\\u001b[2J']);
    expect(warned).toHaveBeenCalledTimes(1);
    monitor.close();
    warned.mockRestore();
    expect(jest.getTimerCount()).toBe(0);
  });
});

const problem = (changes: Partial<GatewayProblem>): GatewayProblem => ({
  problem: 'p',
  severity: 'warning',
  subject: 's',
  title: 'it is bad',
  text: 'It is bad.',
  nextStep: 'Mend it.',
  since: 5,
  ...changes,
});

test('problems of several processes: the same one once, and critical only where it is for all', () => {
  const merged = mergeProblems([
    [problem({ severity: 'critical', since: 9 }), problem({ problem: 'all', severity: 'critical' })],
    [problem({ problem: 'all', severity: 'critical', since: 2 })],
  ]);
  expect(merged.map(({ problem, severity, since }) => [problem, severity, since])).toEqual([
    ['all', 'critical', 2],
    ['p', 'warning', 9],
  ]);
  expect(merged[1]?.text).toBe('It is bad. (In 1 of 2 processes.)');
});

test.each([
  ['is the same for all', 'It is bad.', 2, 'It is bad.'],
  ['counts', '5 of 5 failed in the last 10 s.', 2, ' (In all 2 processes; the numbers are those of one.)'],
  ['counts', '5 of 5 failed in the last 10 s.', 3, ' (In 2 of 3 processes; the numbers are those of one.)'],
])('a text of several processes that %s says whose numbers it has: %s', (_, text, processes, end) => {
  const lists = Array.from({ length: processes }, (_list, index) => (index < 2 ? [problem({ text })] : []));
  expect(mergeProblems(lists)[0]?.text).toBe(end.startsWith(' ') ? text + end : text);
});

test.each([
  ['running', [], 'ok', 'Up'],
  ['running', [problem({ severity: 'notice' })], 'ok', 'Up'],
  ['running', [problem({})], 'warn', 'Up, but it is bad'],
  ['running', [problem({}), problem({ subject: 't' })], 'warn', 'Up, but it is bad (and 1 more problem)'],
  [
    'running',
    [problem({ severity: 'critical' }), problem({}), problem({})],
    'bad',
    'Down: it is bad (and 2 more problems)',
  ],
  ['starting', [], 'warn', 'Starting'],
  ['starting', [problem({ severity: 'critical' })], 'bad', 'Down: it is bad'],
  ['stopping', [problem({ severity: 'critical' })], 'warn', 'Stopping'],
])('the headline of a gateway that is %s with %j is %s: %s', (phase, problems, level, title) => {
  expect(headlineOf(phase, problems)).toEqual({ level, title });
});

test('the headline without a problem says how many backends take requests', () => {
  const row = (unavailableIn: number) => ({ unavailableIn, processes: 2 });
  expect(headlineOf('running', [], [row(0)]).title).toBe('Up: the backend takes requests');
  expect(headlineOf('running', [], [row(0), row(1)]).title).toBe('Up: all 2 backends take requests');
  expect(headlineOf('running', [], [row(0), row(2)]).title).toBe('Up: 1 of 2 backends take requests');
});

test('the headline is amber while a circuit is half-open', () => {
  const trial = { backend: 'http://10.0.0.1:8081', circuit: 'half-open', unavailableIn: 0, processes: 1 };
  const up = { ...trial, backend: 'http://10.0.0.2:8081', circuit: 'closed' };
  expect(headlineOf('running', [], [up, trial])).toEqual({
    level: 'warn',
    title: 'Up, but 10.0.0.1:8081 is on trial (circuit half-open)',
  });
  expect(headlineOf('running', [], [trial, trial]).title).toBe('Up, but 2 backends are on trial (circuit half-open)');
});
