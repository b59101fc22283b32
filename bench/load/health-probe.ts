import { Agent, get } from 'node:http';
import { quantileOf } from '../report/statistics.ts';

const EVERY_MS = 50;

/** Asks for the health of a target again and again, as a load balancer or Kubernetes does, and times the responses. */
export class HealthProbe {
  readonly #agent = new Agent({ keepAlive: true });
  readonly #port: number;
  readonly #checks: { readonly at: number; readonly ms: number }[] = [];
  readonly #timer: NodeJS.Timeout;
  readonly #underWay = new Set<Promise<void>>();

  constructor(port: number) {
    this.#port = port;
    this.#timer = setInterval(() => this.#ask(), EVERY_MS);
  }

  /** @returns p99 in milliseconds of those of a time; a check without a response took forever. */
  async stop([from, until]: readonly [number, number]): Promise<number> {
    clearInterval(this.#timer);
    await Promise.all(this.#underWay);
    this.#agent.destroy();
    const times = this.#checks.filter(({ at }) => at >= from && at < until).map(({ ms }) => ms);
    return quantileOf(Float64Array.from(times).sort(), 0.99);
  }

  #ask(): void {
    const [at, from] = [Date.now(), performance.now()];
    const answered = new Promise<number>((resolve) => {
      const request = get({ port: this.#port, host: '127.0.0.1', path: '/readyz', agent: this.#agent }, (response) => {
        response.resume().once('end', () => resolve(performance.now() - from));
      });
      request.once('error', () => resolve(Number.POSITIVE_INFINITY));
    }).then((ms) => void this.#checks.push({ at, ms }));
    this.#underWay.add(answered);
    void answered.then(() => this.#underWay.delete(answered));
  }
}
