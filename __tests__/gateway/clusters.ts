import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { Agent } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach } from '@jest/globals';
import { type Answer, type Asking, ask } from '../support/ask.ts';
import { pause } from '../support/pause.ts';
import { closeAll, openBackend } from './gateways.ts';
import { endAll, Proc } from './proc.ts';
import { until } from './until.ts';

const TOKEN = '0123456789abcdef';

/** For tests without a worker that dies: no other process has to load the program, which takes as much CPU as a worker. */
export const NO_SPARE = { WORKER_SPARE: 'off' };

const ANY_PORT = { HOST: '127.0.0.1', PORT: '0', ADMIN_PORT: '0', ADMIN_TOKEN: TOKEN };

interface WorkerRow {
  readonly worker: number;
  readonly pid: number;
  readonly state: string;
}

/** The program with workers, in processes of their own. */
export class Cluster {
  readonly proc: Proc;
  url = '';
  adminUrl = '';

  /** @param cwd Where its `.env` file is, if it has one. */
  constructor(env: Readonly<Record<string, string>>, cwd?: string) {
    this.proc = new Proc('server.ts', { ...ANY_PORT, RATE_LIMIT_MAX: '1000000', ...env }, [], cwd);
  }

  async listening(): Promise<this> {
    await this.proc.said(/"msg":"listening"/);
    this.url = await this.proc.said(/"url":"([^"]+)"/);
    this.adminUrl = await this.proc.said(/"adminUrl":"([^"]+)"/);
    return this;
  }

  async workers(): Promise<readonly WorkerRow[]> {
    return (await ask(`${this.adminUrl}/status`)).json.workers;
  }

  async pids(): Promise<readonly number[]> {
    return (await this.workers()).filter(({ state }) => state === 'ready').map(({ pid }) => pid);
  }

  /** Waits until so many serve, and none of them is one of those. */
  async serving(count: number, others: readonly number[] = []): Promise<void> {
    await until(async () => {
      const pids = await this.pids();
      return pids.length === count && pids.every((pid) => !others.includes(pid));
    }, 40_000);
  }

  act(path: string, method = 'POST', asking: Asking = {}): Promise<Answer> {
    return ask(`${this.adminUrl}${path}`, { ...asking, method, headers: { Authorization: `Bearer ${TOKEN}` } });
  }

  /** The value of one series; nothing where there is none. */
  async metric(series: string): Promise<number | undefined> {
    const { text } = await ask(`${this.adminUrl}/metrics`);
    const line = text.split('\n').find((one) => one.startsWith(`${series} `));
    return line === undefined ? undefined : Number(line.slice(series.length));
  }
}

/** For each test of a file: clusters in a folder of their own, which do not outlive it. */
export class TestClusters {
  readonly #workers: string;
  #folder = '';

  /** @param workers How many a cluster has, where a test does not say. */
  constructor(workers: string) {
    this.#workers = workers;
    beforeEach(() => {
      this.#folder = mkdtempSync(join(tmpdir(), 'expressway-cluster-'));
    });
    afterEach(async () => {
      await endAll();
      await closeAll();
      rmSync(this.#folder, { recursive: true });
    });
  }

  /** A file in the folder of the clusters. */
  path(name: string): string {
    return join(this.#folder, name);
  }

  /** Writes the `.env` file. */
  writeEnv(text: string): void {
    writeFileSync(this.path('.env'), text);
  }

  /** With one backend. */
  async open(env: Readonly<Record<string, string>> = {}) {
    const backend = await openBackend('one');
    return { cluster: await this.start({ BACKENDS: backend.url, ...env }), backend };
  }

  start(env: Readonly<Record<string, string>>): Promise<Cluster> {
    return new Cluster({ WORKERS: this.#workers, ...env }, this.#folder).listening();
  }
}

/**
 * Clients that follow `Connection: close` and send one request after the other, each on a kept connection of its own or on new ones.
 * With a shared Agent, some connections would stay unused for longer than a draining server waits, and a request sent on one
 * while the server closes it fails without fault of the server (RFC 9112 §9.5).
 */
export class SteadyLoad {
  readonly statuses = new Map<number, number>();
  readonly failures: string[] = [];
  /** Milliseconds that each client waits between two requests. */
  pauseMs: number;
  readonly #agents: readonly Agent[];
  readonly #running: Promise<void>[];
  #isOver = false;

  constructor(url: string, clients: number, pauseMs: number, keepAlive = true) {
    this.#agents = Array.from({ length: clients }, () => new Agent({ keepAlive }));
    this.pauseMs = pauseMs;
    this.#running = this.#agents.map((agent) => this.#client(url, agent));
  }

  get answered(): number {
    return [...this.statuses.values()].reduce((sum, count) => sum + count, 0);
  }

  async stop(): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.#running);
    for (const agent of this.#agents) agent.destroy();
  }

  async #client(url: string, agent: Agent): Promise<void> {
    while (!this.#isOver) {
      try {
        const { status } = await ask(url, { agent });
        this.statuses.set(status, (this.statuses.get(status) ?? 0) + 1);
      } catch (error) {
        this.failures.push((error as NodeJS.ErrnoException).code ?? String(error));
      }
      await pause('the pace of the load', this.pauseMs);
    }
  }
}
