import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { afterAll, beforeAll, describe, test } from '@jest/globals';
import { makeCertificate } from './made-certificate.ts';
import { closedPort, eventually } from './servers.ts';

/** Pebble, an authority for tests that speaks ACME, with a DNS server in which every name is this machine. */
export class Pebble {
  /** Where it connects to check a name. */
  tlsPort = 0;
  httpPort = 0;
  #port = 0;
  #managementPort = 0;
  #folder = '';
  readonly #processes: ChildProcess[] = [];

  get directoryUrl(): string {
    return `https://127.0.0.1:${this.#port}/dir`;
  }

  /** For `NODE_EXTRA_CA_CERTS`. */
  get ca(): string {
    return join(this.#folder, 'pebble.pem');
  }

  /** @param externalAccounts Their keys, by identifier: then it serves no others. */
  async start(externalAccounts: Readonly<Record<string, string>> = {}): Promise<void> {
    this.#folder = mkdtempSync(join(tmpdir(), 'expressway-pebble-'));
    const { cert, key } = makeCertificate(this.#folder, 'pebble', { names: ['IP:127.0.0.1'] });
    const [port, dnsPort, managementPort, tlsPort, httpPort] = await closedPorts(5);
    Object.assign(this, { tlsPort, httpPort });
    this.#port = port as number;
    this.#managementPort = managementPort as number;
    const pebble = {
      listenAddress: `127.0.0.1:${port}`,
      managementListenAddress: '',
      certificate: cert,
      privateKey: key,
      httpPort,
      tlsPort,
      externalAccountBindingRequired: Object.keys(externalAccounts).length > 0,
      externalAccountMACKeys: externalAccounts,
    };
    const config = join(this.#folder, 'pebble.json');
    writeFileSync(config, JSON.stringify({ pebble }));
    const dns = `127.0.0.1:${dnsPort}`;
    const off = ['-http01', '', '-https01', '', '-tlsalpn01', ''];
    const management = ['-management', `127.0.0.1:${managementPort}`];
    this.#run('pebble-challtestsrv', [
      '-dns01',
      dns,
      '-defaultIPv4',
      '127.0.0.1',
      '-defaultIPv6',
      '',
      ...off,
      ...management,
    ]);
    this.#run('pebble', ['-config', config, '-dnsserver', dns]);
    await eventually('Pebble serves its directory', () => this.#serves());
    await eventually('the DNS server is up', () => this.setFault('none.example.com', 'clear-servfail'));
  }

  /** Has the DNS server fail for a name, or makes that good. */
  async setFault(host: string, change: 'set-servfail' | 'clear-servfail'): Promise<boolean> {
    const url = `http://127.0.0.1:${this.#managementPort}/${change}`;
    const response = await fetch(url, { method: 'POST', body: JSON.stringify({ host }) }).catch(() => undefined);
    return response?.ok === true;
  }

  async stop(): Promise<void> {
    for (const process of this.#processes.splice(0)) {
      const gone = once(process, 'exit');
      process.stdin?.end();
      await gone;
    }
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #serves(): Promise<boolean> {
    return new Promise((resolve) => {
      request(this.directoryUrl, { rejectUnauthorized: false }, (response) => {
        response.resume();
        resolve(response.statusCode === 200);
      })
        .on('error', () => resolve(false))
        .end();
    });
  }

  /** Jest gives tests no exit event. The shell's standard input ends with the test process, however that ends. */
  #run(program: string, args: readonly string[]): void {
    const script = '"$@" & cat > /dev/null; kill -9 $! 2> /dev/null';
    const env = { ...process.env, PEBBLE_VA_NOSLEEP: '1' };
    this.#processes.push(
      spawn('sh', ['-c', script, 'sh', program, ...args], { stdio: ['pipe', 'ignore', 'inherit'], env }),
    );
  }
}

async function closedPorts(count: number): Promise<number[]> {
  const ports = new Set<number>();
  while (ports.size < count) ports.add(await closedPort());
  return [...ports];
}

const isThere = (program: string): boolean =>
  (process.env.PATH ?? '').split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });

/** A group of tests with a Pebble of its own. Without it: one line that says so, and a failure in CI. */
export function describeWithPebble(name: string, fn: (pebble: Pebble) => void): void {
  if (isThere('pebble') && isThere('pebble-challtestsrv')) {
    describe(name, () => {
      const pebble = new Pebble();
      beforeAll(() => pebble.start());
      afterAll(() => pebble.stop());
      fn(pebble);
    });
    return;
  }
  const reason = 'there is no pebble on the PATH (Debian has it in the package pebble)';
  if (process.env.CI === 'true') {
    test(name, () => {
      throw new Error(`${reason}, and CI must not skip this`);
    });
    return;
  }
  process.stderr.write(`\n*** SKIPPED, tests that need Pebble: ${reason} ***\n\n`);
  describe.skip(name, () => {
    test('needs Pebble', () => {});
  });
}
