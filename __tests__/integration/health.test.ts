import { afterEach, describe, expect, jest, test } from '@jest/globals';
import { OptionsError, type RoundRobinProxyOptions, roundRobinProxy } from 'expressway';
import { Cleanup, proxyGateway, type TestGateway } from '../support/gateway.ts';
import { mockTimeoutsOnly } from '../support/mock-time.ts';
import { RecorderBackend } from '../support/recorder-backend.ts';
import { eventually } from '../support/servers.ts';

const cleanup = new Cleanup();
afterEach(async () => {
  jest.useRealTimers();
  await cleanup.run();
});

const FAST = { path: '/healthz', intervalMs: 40, unhealthyIntervalMs: 20, timeoutMs: 2_000 };

const head = (status: number, more = '') => `HTTP/1.1 ${status} X\r\n${more}Content-Length: 0\r\n\r\n`;

/** A backend with a switch for its health checks and one for its traffic. */
class Patient {
  healthz = 200;
  traffic = head(200);
  /** Leaves health checks without an answer. */
  hangs = false;
  readonly recorder: RecorderBackend;

  private constructor(recorder: RecorderBackend) {
    this.recorder = recorder;
    recorder.script = (connection, { target }) => {
      if (target !== '/healthz') connection.write(this.traffic);
      else if (!this.hangs) connection.write(head(this.healthz));
    };
  }

  static async start(): Promise<Patient> {
    return new Patient(cleanup.add(await RecorderBackend.start()));
  }

  get url(): string {
    return this.recorder.url;
  }

  get checks(): number {
    return this.recorder.requests.filter(({ target }) => target === '/healthz').length;
  }

  get served(): number {
    return this.recorder.requests.length - this.checks;
  }
}

async function gatewayOf(patients: readonly Patient[], options: Partial<RoundRobinProxyOptions>): Promise<TestGateway> {
  return cleanup.add(await proxyGateway({ backends: patients.map(({ url }) => url), ...options }));
}

async function statuses(url: string, count: number): Promise<number[]> {
  const seen: number[] = [];
  for (let i = 0; i < count; i += 1) {
    const response = await fetch(url);
    await response.arrayBuffer();
    seen.push(response.status);
  }
  return seen;
}

const all200 = (count: number): number[] => new Array(count).fill(200);

const health = ({ proxy }: TestGateway): string[] => proxy.status().map((backend) => backend.health);

describe('active health checks', () => {
  test('are off without a path', async () => {
    const patient = await Patient.start();
    const gateway = await gatewayOf([patient], { healthCheck: { intervalMs: 10 } });
    await statuses(gateway.url, 20);
    expect(patient.checks).toBe(0);
    expect(health(gateway)).toEqual(['unknown']);
  });

  test('take an unhealthy backend out, and bring it back when it is healthy', async () => {
    const [good, bad] = [await Patient.start(), await Patient.start()];
    const gateway = await gatewayOf([good, bad], { healthCheck: FAST });
    const changes: string[] = [];
    gateway.proxy.events.on('healthChange', ({ backend, from, to, error }) => {
      if (backend === bad.url) changes.push(`${from} > ${to}${error === undefined ? '' : `: ${error.message}`}`);
    });
    await eventually('both are healthy', () => health(gateway).join() === 'healthy,healthy');
    expect(await statuses(gateway.url, 10)).toEqual(all200(10));
    expect([good.served, bad.served]).toEqual([5, 5]);

    bad.healthz = 503;
    await eventually('it is out', () => gateway.proxy.status()[1]?.available === false);
    expect(await statuses(gateway.url, 20)).toEqual(all200(20));
    expect([good.served, bad.served]).toEqual([25, 5]);
    expect(gateway.proxy.status()[1]).toMatchObject({ health: 'unhealthy', circuit: 'closed' });

    bad.healthz = 204;
    await eventually('it is back', () => gateway.proxy.status()[1]?.available);
    expect(await statuses(gateway.url, 10)).toEqual(all200(10));
    expect([good.served, bad.served]).toEqual([30, 10]);
    expect(changes).toEqual([
      'unknown > healthy',
      'healthy > unhealthy: the health check got status 503',
      'unhealthy > healthy',
    ]);
    expect(Number(gateway.proxy.status()[1]?.lastCheckAt)).toBeGreaterThan(Date.now() - 60_000);
  });

  test('bring an unhealthy backend back while every other one is drained', async () => {
    const [bad, good] = [await Patient.start(), await Patient.start()];
    const gateway = await gatewayOf([bad, good], { healthCheck: FAST });
    bad.healthz = 503;
    await eventually('it is out', () => gateway.proxy.status()[0]?.available === false);
    expect(gateway.proxy.drain(good.url)).toBe(true);
    expect(await statuses(gateway.url, 2)).toEqual(all200(2));
    expect(bad.served).toBe(2);
    expect(gateway.proxy.restore(good.url)).toBe(true);
    expect(await statuses(gateway.url, 2)).toEqual(all200(2));
    expect(good.served).toBe(2);
  });

  test('send the headers that the option has, in place of their own', async () => {
    const patient = await Patient.start();
    const headers = { Host: 'users.internal', 'user-agent': 'gateway/1', Authorization: 'Bearer of the checks' };
    await gatewayOf([patient], { healthCheck: { ...FAST, headers } });
    await eventually('there was a check', () => patient.checks > 0);
    const [check] = patient.recorder.requests;
    const sent = ['host', 'user-agent', 'authorization'].map((name) => check?.all(name));
    expect(sent).toEqual([['users.internal'], ['gateway/1'], ['Bearer of the checks']]);
  });

  test('use a backend before its first result', async () => {
    const patient = await Patient.start();
    patient.hangs = true;
    const gateway = await gatewayOf([patient], { healthCheck: FAST });
    expect(await statuses(gateway.url, 3)).toEqual(all200(3));
    expect(health(gateway)).toEqual(['unknown']);
  });

  test('use their own connections, and do not delay traffic when one hangs', async () => {
    const patient = await Patient.start();
    patient.hangs = true;
    const gateway = await gatewayOf([patient], { healthCheck: { ...FAST, timeoutMs: 60_000 } });
    await eventually('the check is under way', () => patient.checks === 1);
    const answers = await Promise.all(Array.from({ length: 20 }, () => statuses(gateway.url, 10)));
    expect(answers.flat()).toEqual(all200(200));
    // Still the one that hangs: all of the above was served beside it.
    expect(patient.checks).toBe(1);
    const received = patient.recorder.received.map((bytes) => bytes.toString('latin1'));
    const checking = received.filter((bytes) => bytes.includes('GET /healthz'));
    expect(checking).toHaveLength(1);
    expect(checking[0]).not.toContain('GET / ');
    expect(checking[0]).toMatch(/^host: 127\.0\.0\.1:\d+\r$/im);
  });

  test('start and stop with backends that are added and removed', async () => {
    const [stays, goes, comes] = [await Patient.start(), await Patient.start(), await Patient.start()];
    const gateway = await gatewayOf([stays, goes], { healthCheck: FAST });
    await eventually('both are healthy', () => health(gateway).join() === 'healthy,healthy');
    goes.healthz = 500;
    await eventually('one is unhealthy', () => health(gateway).join() === 'healthy,unhealthy');
    gateway.proxy.setBackends([stays.url, comes.url]);
    expect(health(gateway)).toEqual(['healthy', 'unknown']);
    const before = goes.checks;
    const more = stays.checks + 5;
    await eventually('the newcomer is healthy', () => health(gateway).join() === 'healthy,healthy');
    await eventually('the checks go on', () => stays.checks >= more);
    // One may have been on its way.
    expect(goes.checks).toBeLessThanOrEqual(before + 1);
    gateway.proxy.setBackends([stays.url, goes.url]);
    expect(health(gateway)).toEqual(['healthy', 'unknown']);
    await eventually('it is found out again', () => health(gateway).join() === 'healthy,unhealthy');
  });

  test('an unhealthy backend is used again when it is the only one left', async () => {
    const [good, bad] = [await Patient.start(), await Patient.start()];
    bad.healthz = 500;
    const gateway = await gatewayOf([good, bad], { healthCheck: FAST });
    await eventually('it is out', () => gateway.proxy.status()[1]?.available === false);
    gateway.proxy.setBackends([bad.url]);
    expect(gateway.proxy.status()).toMatchObject([{ health: 'unhealthy', available: true }]);
    expect(await statuses(gateway.url, 3)).toEqual(all200(3));
  });

  test('close() aborts a hanging check', async () => {
    const patient = await Patient.start();
    patient.hangs = true;
    const gateway = await gatewayOf([patient], { healthCheck: { ...FAST, timeoutMs: 60_000 } });
    await eventually('the check is under way', () => patient.checks === 1);
    await gateway.proxy.close();
    await eventually('its connection is closed', () => patient.recorder.connections.size === 0);
  });
});

describe('when too many backends are unhealthy', () => {
  /** Both fail their checks, the first one first. */
  async function bothUnhealthy(options: Partial<RoundRobinProxyOptions>) {
    const patients = [await Patient.start(), await Patient.start()] as const;
    const gateway = await gatewayOf(patients, { healthCheck: FAST, ...options });
    for (const [index, patient] of patients.entries()) {
      patient.healthz = 500;
      await eventually('it is unhealthy', () => health(gateway)[index] === 'unhealthy');
    }
    return { gateway, patients };
  }

  test('the last one is still used', async () => {
    const { gateway, patients } = await bothUnhealthy({});
    expect(await statuses(gateway.url, 10)).toEqual(all200(10));
    expect(patients.map(({ served }) => served)).toEqual([0, 10]);
  });

  test('all are used again below the panic threshold', async () => {
    const { gateway, patients } = await bothUnhealthy({ panic: true });
    expect(await statuses(gateway.url, 10)).toEqual(all200(10));
    expect(patients.map(({ served }) => served)).toEqual([5, 5]);
  });

  test('maxUnavailableRatio bounds how many are unavailable', async () => {
    const { gateway, patients } = await bothUnhealthy({ maxUnavailableRatio: 0.4 });
    expect(await statuses(gateway.url, 10)).toEqual(all200(10));
    expect(patients.map(({ served }) => served)).toEqual([5, 5]);
  });
});

describe('circuits and health checks', () => {
  const circuit = { minimumRequests: 3, openMs: 100, halfOpenRequests: 1, openJitter: 0 };

  test('with health checks, a trial waits for a passing check, so a down backend gets nothing else', async () => {
    const patient = await Patient.start();
    patient.traffic = head(500);
    patient.healthz = 500;
    const gateway = await gatewayOf([patient], { circuit, healthCheck: FAST });
    expect(await statuses(gateway.url, 3)).toEqual([500, 500, 500]);
    await eventually('its circuit is open', () => gateway.proxy.status()[0]?.circuit === 'open');
    const served = patient.served;
    const openedAt = Date.now();
    const refused = new Set<number>();
    while (Date.now() < openedAt + 5 * circuit.openMs)
      for (const one of await statuses(gateway.url, 1)) refused.add(one);
    expect([...refused]).toEqual([503]);
    expect(patient.served).toBe(served);
    expect(patient.checks).toBeGreaterThan(3);
    expect(gateway.proxy.status()[0]).toMatchObject({ circuit: 'open', available: false });

    patient.traffic = head(200);
    patient.healthz = 200;
    await eventually('a trial is due', () => gateway.proxy.status()[0]?.available);
    expect(await statuses(gateway.url, 3)).toEqual(all200(3));
    expect(gateway.proxy.status()[0]).toMatchObject({ circuit: 'closed' });
  });

  test('without health checks, the open time alone decides', async () => {
    const patient = await Patient.start();
    patient.traffic = head(500);
    const gateway = await gatewayOf([patient], { circuit });
    await statuses(gateway.url, 3);
    await eventually('a trial is due', () => gateway.proxy.status()[0]?.available);
    expect(await statuses(gateway.url, 1)).toEqual([500]);
    expect(patient.served).toBe(4);
  });

  test('consecutive openings last 100, 200, 400 and 400 ms, and 100 ms again after a success', async () => {
    const patient = await Patient.start();
    patient.traffic = head(500);
    const gateway = await gatewayOf([patient], { circuit: { ...circuit, maxOpenMs: 400 } });
    const openMs: number[] = [];
    gateway.proxy.events.on('circuitStateChange', ({ to, retryAfterMs }) => {
      if (to === 'open') openMs.push(retryAfterMs);
    });
    const trial = async () => {
      await eventually('a trial is due', () => gateway.proxy.status()[0]?.available);
      await statuses(gateway.url, 1);
    };
    await statuses(gateway.url, 3);
    for (let i = 0; i < 3; i += 1) await trial();
    patient.traffic = head(200);
    await trial();
    patient.traffic = head(500);
    await statuses(gateway.url, 3);
    expect(openMs).toEqual([100, 200, 400, 400, 100]);
  });
});

describe('Retry-After of a backend', () => {
  const busy = (status: number, seconds = 60) => head(status, `Retry-After: ${seconds}\r\n`);

  test.each([503, 429])('skips the backend for that time with the option on: %d', async (status) => {
    const [other, tired] = [await Patient.start(), await Patient.start()];
    tired.traffic = busy(status);
    const gateway = await gatewayOf([tired, other], { respectRetryAfter: {} });
    mockTimeoutsOnly();
    expect(await statuses(gateway.url, 1)).toEqual([status]);
    const [resting] = gateway.proxy.status();
    expect(resting).toMatchObject({ available: false, circuit: 'closed' });
    tired.traffic = head(200);
    expect(await statuses(gateway.url, 10)).toEqual(all200(10));
    expect(tired.served).toBe(1);
    jest.advanceTimersByTime(60_000);
    expect(gateway.proxy.status()[0]?.available).toBe(true);
    await statuses(gateway.url, 2);
    expect(tired.served).toBe(2);
  });

  test('counts even when the response is discarded for a retry', async () => {
    const [other, tired] = [await Patient.start(), await Patient.start()];
    tired.traffic = busy(503);
    const gateway = await gatewayOf([tired, other], { respectRetryAfter: {}, retry: { statuses: [503] } });
    expect(await statuses(gateway.url, 10)).toEqual(all200(10));
    expect([tired.served, other.served]).toEqual([1, 10]);
  });

  test('never makes the last backend unavailable', async () => {
    const patient = await Patient.start();
    patient.traffic = busy(429);
    const gateway = await gatewayOf([patient], { respectRetryAfter: {} });
    expect(await statuses(gateway.url, 5)).toEqual([429, 429, 429, 429, 429]);
  });

  test('is ignored by default', async () => {
    const [other, tired] = [await Patient.start(), await Patient.start()];
    tired.traffic = busy(429);
    const gateway = await gatewayOf([tired, other], {});
    await statuses(gateway.url, 10);
    expect([tired.served, other.served]).toEqual([5, 5]);
  });
});

test('invalid health check options throw, all in one error', () => {
  const bad = {
    backends: ['http://a'],
    circuit: { maxOpenMs: 0, openJitter: 2 },
    healthCheck: {
      path: 'healthz',
      headers: { 'Content-Length': '1', expect: '100-continue', 'x-a': 'a\r\nb' },
      jitter: -1,
      every: 1,
      isHealthy: true,
    },
    respectRetryAfter: { minMs: 'long', statuses: [200] },
    maxUnavailableRatio: 1.5,
    panic: 'no',
  };
  expect(() => roundRobinProxy(bad as never)).toThrow(OptionsError);
  try {
    roundRobinProxy(bad as never);
  } catch (error) {
    const parts = [
      'circuit: maxOpenMs',
      'circuit: openJitter',
      'healthCheck: path must be a path that starts with "/"',
      'healthCheck: headers: "Content-Length" is not a header that can be set: a check cannot have it',
      'healthCheck: headers: "expect" is not a header',
      'healthCheck: headers: "x-a" must have a text without control characters',
      'healthCheck: jitter',
      'healthCheck: unknown option "every"',
      'healthCheck: isHealthy',
      'respectRetryAfter: minMs',
      'respectRetryAfter: statuses',
      'maxUnavailableRatio',
      'panic',
    ];
    for (const part of parts) expect((error as Error).message).toContain(part);
  }
});
