/**
 * What a limit is worth while Redis hiccups: four gateways, one client at six times its limit, by algorithm and by what
 * happens to Redis.
 * `node --conditions=expressway-source bench/limiter-hiccups.ts [scenario,…] [algorithm,…] [windows] [window in ms]`.
 */
import { type ChildProcess, type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { Agent, get } from 'node:http';
import { createServer } from 'node:net';
import { loadavg } from 'node:os';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';

const LIMIT = 100;
const GATEWAYS = 4;
const TIMES_THE_LIMIT = 6;
const STORE_TIMEOUT_MS = 50;
const ALGORITHMS = ['fixed-window', 'sliding-window', 'token-bucket'] as const;

type Algorithm = (typeof ALGORITHMS)[number];

const [scenarios = '', algorithms = '', windows = '20', windowMsText = '2000'] = process.argv.slice(2);
const WINDOWS = Number(windows);
const WINDOW_MS = Number(windowMsText);

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const now = (): number => performance.timeOrigin + performance.now();

class Redis {
  readonly port: number;
  #process: ChildProcess | undefined;

  constructor(port: number) {
    this.port = port;
  }

  async start(): Promise<void> {
    const args = ['--port', `${this.port}`, '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no'];
    const redis = spawn('redis-server', args, { stdio: ['ignore', 'pipe', 'inherit'] });
    this.#process = redis;
    let output = '';
    for await (const chunk of redis.stdout) {
      output += chunk;
      if (/Ready to accept connections/.test(output)) break;
    }
    redis.stdout.resume();
  }

  signal(signal: NodeJS.Signals): void {
    this.#process?.kill(signal);
  }

  async kill(): Promise<void> {
    const redis = this.#process;
    if (redis === undefined) return;
    this.#process = undefined;
    redis.kill('SIGCONT');
    redis.kill('SIGKILL');
    await once(redis, 'exit');
  }
}

interface GatewayReport {
  readonly passed: readonly (readonly [came: number, decided: number])[];
  readonly longest: number;
  readonly modes: readonly string[];
}

class Gateway {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  #output = '';

  constructor(redis: Redis, algorithm: Algorithm) {
    const script = fileURLToPath(new URL('limiter-hiccups-gateway.ts', import.meta.url));
    const options = { algorithm, limit: LIMIT, windowMs: WINDOW_MS, redis: `redis://127.0.0.1:${redis.port}` };
    const args = ['--conditions=expressway-source', script, JSON.stringify(options)];
    this.#child = spawn(process.execPath, args, {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#child.stdout.on('data', (chunk) => {
      this.#output += chunk;
    });
  }

  async #line(index: number): Promise<string> {
    while (this.#output.split('\n').length < index + 2) await once(this.#child.stdout, 'data');
    return this.#output.split('\n')[index] as string;
  }

  async url(): Promise<string> {
    return `http://127.0.0.1:${(JSON.parse(await this.#line(0)) as { port: number }).port}/`;
  }

  async end(): Promise<GatewayReport> {
    this.#child.stdin.end();
    return JSON.parse(await this.#line(1)) as GatewayReport;
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  return port;
}

interface Scenario {
  /** The most that may pass in any window. */
  readonly most: number;
  readonly windows?: number;
  /** All gateways are ready, and no request was made yet. */
  begin?(redis: Redis): unknown;
  /** Runs beside the load until it is told to stop. */
  beside?(redis: Redis, isOver: () => boolean): Promise<void>;
  /** The first requests of all, at once. */
  readonly burst?: number;
}

function busyLoops(count: number): () => void {
  const loops = Array.from({ length: count }, () => spawn(process.execPath, ['-e', 'for (;;);'], { stdio: 'ignore' }));
  return () => {
    for (const loop of loops) loop.kill('SIGKILL');
  };
}

const SCENARIOS: Readonly<Record<string, Scenario>> = {
  healthy: { most: 100, windows: 5 },
  burst: { most: 100, windows: 1, burst: 600 },
  busy: {
    most: 100,
    windows: 10,
    async beside(_redis, isOver) {
      const stop = busyLoops(6);
      while (!isOver()) await sleep(50);
      stop();
    },
  },
  pauses: {
    most: 105,
    async beside(redis, isOver) {
      while (!isOver()) {
        const pauseMs = 60 + Math.random() * 240;
        redis.signal('SIGSTOP');
        await sleep(pauseMs);
        redis.signal('SIGCONT');
        await sleep(1_000 - pauseMs);
      }
    },
  },
  kills: {
    most: 110,
    async beside(redis, isOver) {
      while (!isOver()) {
        await sleep(1_500 + Math.random() * 3_000);
        await redis.kill();
        await sleep(Math.random() * 600);
        await redis.start();
      }
    },
  },
  'paused-at-start': { most: 125, windows: 3, begin: (redis) => redis.signal('SIGSTOP') },
  'stopped-at-start': { most: 125, windows: 3, begin: (redis) => redis.kill() },
};

/** One client that asks each gateway in turn, whether it was answered or not. */
async function load(urls: readonly string[], durationMs: number, burst: number): Promise<number[]> {
  const agent = new Agent({ keepAlive: true });
  const times: number[] = [];
  const asked: Promise<void>[] = [];
  const ask = (i: number): void => {
    const start = performance.now();
    asked.push(
      new Promise((resolve, reject) => {
        get(urls[i % urls.length] as string, { agent }, (answer) => {
          answer.resume().on('end', () => {
            times.push(performance.now() - start);
            resolve();
          });
        }).on('error', reject);
      }),
    );
  };
  let sent = 0;
  while (sent < burst) ask(sent++);
  const start = performance.now();
  const perMs = (LIMIT * TIMES_THE_LIMIT) / WINDOW_MS;
  for (let elapsed = 0; elapsed < durationMs; elapsed = performance.now() - start) {
    for (const due = burst + elapsed * perMs; sent < due; ) ask(sent++);
    await sleep(2);
  }
  await Promise.all(asked);
  agent.destroy();
  return times.sort((a, b) => a - b);
}

type Passed = GatewayReport['passed'][number];

/**
 * How far a bucket was overdrawn, by the window in which that showed. Each request was decided between the moment it came and the
 * moment its decision was known. So what both came and was decided between two moments is at most a full bucket, and what was refilled between them.
 */
function overdrawn(passed: readonly Passed[], first: number): number[] {
  const counts: number[] = [];
  const byDecision = passed.toSorted((a, b) => a[1] - b[1]);
  for (const [start] of passed) {
    let count = 0;
    for (const [came, decided] of byDecision) {
      if (came < start) continue;
      count++;
      const index = Math.floor((decided - first) / WINDOW_MS);
      const spent = Math.round(count - ((decided - start) * LIMIT) / WINDOW_MS);
      counts[index] = Math.max(counts[index] ?? 0, spent);
    }
  }
  return counts;
}

/** How many passed in each window. */
function perWindow(algorithm: Algorithm, passed: readonly Passed[]): number[] {
  const moments = passed.map(([came]) => came).sort((a, b) => a - b);
  const first = moments[0] as number;
  if (algorithm === 'token-bucket') return overdrawn(passed, first);
  const counts: number[] = [];
  if (algorithm === 'sliding-window') {
    for (const [came, decided] of passed) {
      const index = Math.floor((came - first) / WINDOW_MS);
      // What was decided in the next window may count there.
      if (decided < first + (index + 1) * WINDOW_MS) counts[index] = (counts[index] ?? 0) + 1;
    }
    return counts;
  }
  // A fixed window begins with the first request behind the one before it. A request comes somewhat before it is decided.
  const lengthMs = WINDOW_MS - STORE_TIMEOUT_MS - 20;
  let began = Number.NEGATIVE_INFINITY;
  for (const moment of moments) {
    if (moment - began >= lengthMs) {
      began = moment;
      counts.push(0);
    }
    counts[counts.length - 1] = (counts.at(-1) as number) + 1;
  }
  return counts;
}

async function run(name: string, algorithm: Algorithm): Promise<boolean> {
  const { most, windows: own, begin, beside, burst = 0 } = SCENARIOS[name] as Scenario;
  const redis = new Redis(await freePort());
  await redis.start();
  const gateways = Array.from({ length: GATEWAYS }, () => new Gateway(redis, algorithm));
  try {
    const urls = await Promise.all(gateways.map((gateway) => gateway.url()));
    await begin?.(redis);
    let isOver = false;
    const trouble = beside?.(redis, () => isOver);
    const times = await load(urls, Math.min(WINDOWS, own ?? WINDOWS) * WINDOW_MS, burst);
    isOver = true;
    redis.signal('SIGCONT');
    await trouble;
    const reports = await Promise.all(gateways.map((gateway) => gateway.end()));
    const counts = perWindow(
      algorithm,
      reports.flatMap(({ passed }) => passed),
    );
    const highest = Math.max(...counts);
    const isFine = highest <= most;
    const line = {
      scenario: name,
      algorithm,
      highest,
      allowed: most,
      windows: counts.join(' '),
      gatewayMs: Math.round(Math.max(...reports.map(({ longest }) => longest))),
      p99: Math.round(times[Math.floor(times.length * 0.99)] as number),
      gateways: reports.map(({ passed }) => passed.length).join(' '),
      load: Number(loadavg()[0]?.toFixed(1)),
      modes: reports.map(({ modes }) => modes.length).join(' '),
    };
    process.stdout.write(`${isFine ? 'ok  ' : 'OVER'} ${JSON.stringify(line)}\n`);
    return isFine;
  } finally {
    for (const gateway of gateways) gateway.kill();
    await redis.kill();
  }
}

const chosen = (text: string, all: readonly string[]): string[] =>
  text === '' || text === 'all' ? [...all] : text.split(',');
let isFine = true;
process.stderr.write(`${new Date(now()).toISOString()}: ${WINDOWS} windows of ${WINDOW_MS} ms\n`);
for (const scenario of chosen(scenarios, Object.keys(SCENARIOS))) {
  for (const algorithm of chosen(algorithms, ALGORITHMS))
    isFine = (await run(scenario, algorithm as Algorithm)) && isFine;
}
process.exitCode = isFine ? 0 : 1;
