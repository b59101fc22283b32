import { Agent, get } from 'node:http';
import { quantileOf } from '../report/statistics.ts';

const EVERY_MS = 50;

/** Asks for the health of a target again and again, as a load balancer or Kubernetes does, and times the responses. */
export class HealthProbe {
  readonly #agent = new Agent({ keepAlive: true });
  readonly #port: number;
  readonly #times: number[] = [];
  readonly #timer: NodeJS.Timeout;
  #underWay = new Set<Promise<void>>();

  constructor(port: number) {
    this.#port = port;
    this.#timer = setInterval(() => this.#ask(), EVERY_MS);
  }

  /** @returns p99 in milliseconds; a check without a response took forever. */
  async stop(): Promise<number> {
    clearInterval(this.#timer);
    await Promise.all(this.#underWay);
    this.#agent.destroy();
    return quantileOf(Float64Array.from(this.#times).sort(), 0.99);
  }

  #ask(): void {
    const from = performance.now();
    const answered = new Promise<number>((resolve) => {
      const request = get({ port: this.#port, host: '127.0.0.1', path: '/readyz', agent: this.#agent }, (response) => {
        response.resume().once('end', () => resolve(performance.now() - from));
      });
      request.once('error', () => resolve(Number.POSITIVE_INFINITY));
    }).then((ms) => void this.#times.push(ms));
    this.#underWay.add(answered);
    void answered.then(() => this.#underWay.delete(answered));
  }
}
