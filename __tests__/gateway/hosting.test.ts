import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseEnv } from 'node:util';
import { afterAll, afterEach, describe, expect, test } from '@jest/globals';
import { parse, parseAllDocuments } from 'yaml';
import { readConfig } from '../../lib/gateway/config/config.ts';
import { ask } from '../support/ask.ts';
import { closeAll, openBackend, openGateway } from './gateways.ts';
import { endAll, Proc } from './proc.ts';

// No daemon, no cluster and no systemd is asked here: these files are read, and compared with what the gateway is.

const root = fileURLToPath(new URL('../..', import.meta.url));
const read = (path: string): string => readFileSync(join(root, path), 'utf8');
/** A file of the build, and its source. */
const hasSource = (path: string) => existsSync(join(root, path.replace(/^dist\//, '').replace(/\.js$/, '.ts')));
const seconds = (text: string) => Number(/^(\d+)s?$/.exec(text)?.[1]);
const variables = Object.keys(parseEnv(read('.env.example')));

afterEach(endAll);
afterAll(closeAll);

/** What the gateway makes of variables, which it must know. */
function configOf(env: Record<string, string>) {
  expect(Object.keys(env).filter((name) => !variables.includes(name))).toEqual([]);
  return readConfig(env);
}

describe('Dockerfile', () => {
  interface Instruction {
    readonly name: string;
    readonly text: string;
  }

  const instructions = read('Dockerfile')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line): Instruction => {
      const [, name = '', text = ''] = /^([A-Z]+) (.*)$/.exec(line) ?? [];
      return { name, text };
    });
  const last = instructions.slice(instructions.findLastIndex(({ name }) => name === 'FROM'));
  const textsOf = (list: readonly Instruction[], wanted: string) =>
    list.filter(({ name }) => name === wanted).map(({ text }) => text);
  const sources = textsOf(instructions, 'COPY')
    .filter((text) => !text.startsWith('--from='))
    .flatMap((text) => text.split(' ').slice(0, -1));

  test('has valid instructions and two stages, and copies only existing files', () => {
    expect(instructions.every(({ name }) => name !== '')).toBe(true);
    expect(textsOf(instructions, 'FROM')).toHaveLength(2);
    for (const source of sources) expect([source, existsSync(join(root, source))]).toEqual([source, true]);
    for (const text of textsOf(last, 'COPY')) expect(text).toMatch(/^--from=build \/gateway\/\S+ \S+$/);
  });

  test('.dockerignore lets exactly the copied files through', () => {
    const [all, ...allowed] = read('.dockerignore').trim().split('\n');
    expect(all).toBe('*');
    expect(allowed.sort()).toEqual(sources.map((source) => `!${source}`).sort());
  });

  test('runs as an unprivileged user, with an existing health check and program', () => {
    expect(textsOf(last, 'USER')).toEqual(['node']);
    const [check] = textsOf(last, 'HEALTHCHECK');
    const commands = [/CMD (\[.*\])$/.exec(check ?? '')?.[1], ...textsOf(last, 'CMD')];
    for (const command of commands) {
      const [program, script] = JSON.parse(command ?? '[]');
      expect([program, hasSource(script)]).toEqual(['node', true]);
    }
    const [major] = textsOf(instructions, 'ARG').map((text) => /^NODE_VERSION=(\d+)$/.exec(text)?.[1]);
    expect(Number(major)).toBeGreaterThanOrEqual(24);
  });

  test('opens the ports that the gateway listens on', () => {
    const environment = textsOf(last, 'ENV').map((text) => text.split('=') as [string, string]);
    const { port, admin } = configOf(Object.fromEntries(environment.filter(([name]) => name !== 'NODE_ENV')));
    expect(textsOf(last, 'EXPOSE')).toEqual([`${port} ${admin?.port}`]);
    expect(admin?.host).toBe('0.0.0.0');
  });

  test('leaves development files out of the image', () => {
    const folder = mkdtempSync(join(tmpdir(), 'expressway-image-'));
    try {
      const script = 'example-gateway/hosting/runtime-package.js';
      mkdirSync(dirname(join(folder, script)), { recursive: true });
      for (const file of [script, 'package.json']) cpSync(join(root, file), join(folder, file));
      execFileSync(process.execPath, [script], { cwd: folder });
      const [before, after] = [root, folder].map((at) => JSON.parse(readFileSync(join(at, 'package.json'), 'utf8')));
      expect(after.devDependencies).toBeUndefined();
      // The types of packages that the example imports are erased; the packages themselves must be there.
      const imported = execFileSync('grep', ['-rhoE', "from '[a-z@][^':.]*'", join(root, 'example-gateway')], {
        encoding: 'utf8',
      });
      const names = new Set([...imported.matchAll(/'([^']+)'/g)].map(([, name]) => name as string));
      for (const own of ['expressway', 'expressway/gateway']) names.delete(own);
      const there = { ...after.dependencies, ...after.peerDependencies };
      for (const name of names) expect([name, there[name]]).toEqual([name, expect.any(String)]);
      for (const name of ['cors', 'jose', 'pino', 'prom-client', 'redis', 'ws', 'yaml']) {
        expect(after.dependencies[name]).toBe(before.devDependencies[name]);
      }
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});

describe('compose.yaml', () => {
  const { services } = parse(read('compose.yaml'), { merge: true });

  test('sets known variables, existing backends and enough time to stop', () => {
    const { environment, stop_grace_period: grace, ports } = services.gateway;
    const config = configOf(environment);
    for (const backend of config.backends) {
      const { hostname, port } = new URL(String(backend));
      const { command } = services[hostname];
      expect(hasSource(command[1])).toBe(true);
      expect(command[command.indexOf('--port') + 1]).toBe(port);
    }
    expect(services).toHaveProperty(new URL(String(config.redisUrl)).hostname);
    expect(seconds(grace) * 1_000).toBeGreaterThan(config.shutdownTimeoutMs);
    // The operator's listener is for this machine alone.
    expect(ports).toEqual([`${config.port}:${config.port}`, `127.0.0.1:${config.admin?.port}:${config.admin?.port}`]);
  });

  test('pins its images, and mounts existing files', () => {
    for (const [name, service] of Object.entries<{ image: string; build?: string; volumes?: string[] }>(services)) {
      if (service.build === undefined) expect([name, service.image]).toEqual([name, expect.stringMatching(/:.*\d/)]);
      for (const volume of service.volumes ?? []) {
        const [from = '', , mode] = volume.split(':');
        expect([from, existsSync(join(root, from)), mode]).toEqual([from, true, 'ro']);
      }
    }
  });

  test('Prometheus scrapes the gateway under the job name of the alerts, and Grafana queries Prometheus', () => {
    const prometheus = parse(read('example-gateway/prometheus/prometheus.yml'));
    const [{ job_name: job, static_configs: configs }] = prometheus.scrape_configs;
    const { admin } = configOf({ ...services.gateway.environment, ADMIN_HOST: '0.0.0.0' });
    expect(configs).toEqual([{ targets: [`gateway:${admin?.port}`] }]);
    for (const file of prometheus.rule_files)
      expect(read(`example-gateway/prometheus/${file}`)).toContain(`job="${job}"`);
    const provisioning = 'example-gateway/grafana/provisioning';
    const [source] = parse(read(`${provisioning}/datasources/prometheus.yaml`)).datasources;
    expect(services).toHaveProperty(new URL(source.url).hostname);
    const [provider] = parse(read(`${provisioning}/dashboards/expressway.yaml`)).providers;
    const mounts: string[] = services.grafana.volumes;
    expect(mounts.some((mount) => mount.split(':')[1]?.startsWith(provider.options.path))).toBe(true);
  });
});

describe('expressway.service', () => {
  const path = 'example-gateway/hosting/expressway.service';
  const unit = new Map(
    read(path)
      .split('\n')
      .filter((line) => /^\w+=/.test(line))
      .map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)] as const),
  );

  test('starts an existing program, reloads by SIGHUP, and allows time for the shutdown', () => {
    expect(hasSource(/dist\/\S+$/.exec(unit.get('ExecStart') ?? '')?.[0] ?? '')).toBe(true);
    expect(unit.get('ExecReload')).toBe('/bin/kill -HUP $MAINPID');
    expect(seconds(unit.get('TimeoutStopSec') ?? '') * 1_000).toBeGreaterThan(readConfig({}).shutdownTimeoutMs);
  });

  test('is a valid unit according to systemd-analyze', () => {
    const { error, status, stderr } = spawnSync('systemd-analyze', ['verify', '--man=no', join(root, path)], {
      encoding: 'utf8',
    });
    if (error !== undefined) {
      process.stderr.write('SKIPPED: no systemd-analyze here, the unit is only read\n');
      return;
    }
    const about = stderr.split('\n').filter((line) => line.includes('expressway.service:'));
    expect([about, status === 0 || about.length === 0]).toEqual([[], true]);
  });
});

describe('kubernetes.yaml', () => {
  const documents = parseAllDocuments(read('example-gateway/hosting/kubernetes.yaml'));
  const ofKind = (kind: string) => documents.map((one) => one.toJS()).find((one) => one.kind === kind);
  const config = ofKind('ConfigMap');
  const pod = ofKind('Deployment').spec.template;
  const [container] = pod.spec.containers;

  test('is valid YAML, and sets known variables', () => {
    expect(documents.flatMap(({ errors }) => errors)).toEqual([]);
    expect(configOf(config.data)).toMatchObject({ admin: { host: '0.0.0.0' } });
    expect(container.envFrom).toEqual([{ configMapRef: { name: config.metadata.name } }]);
  });

  test('gives a pod a lead time, and enough time to stop', () => {
    const { shutdownLeadMs, shutdownTimeoutMs } = configOf(config.data);
    expect(shutdownLeadMs).toBeGreaterThan(0);
    expect(pod.spec.terminationGracePeriodSeconds * 1_000).toBeGreaterThan(shutdownTimeoutMs);
  });

  test('selects its own pods, at the ports that the gateway listens on', () => {
    const { port, admin } = configOf(config.data);
    expect(container.ports).toEqual([
      { name: 'http', containerPort: port },
      { name: 'admin', containerPort: admin?.port },
    ]);
    const service = ofKind('Service');
    expect(service.spec.ports.map(({ targetPort }: { targetPort: string }) => targetPort)).toEqual(['http']);
    for (const selector of [
      service.spec.selector,
      ofKind('Deployment').spec.selector.matchLabels,
      ofKind('PodDisruptionBudget').spec.selector.matchLabels,
    ]) {
      expect(pod.metadata.labels).toMatchObject(selector);
    }
  });

  test('probes paths that the admin listener serves', async () => {
    const backend = await openBackend('one');
    const { adminUrl } = await openGateway([backend.url]);
    for (const name of ['startupProbe', 'readinessProbe', 'livenessProbe']) {
      const { path, port } = container[name].httpGet;
      expect(port).toBe('admin');
      expect([name, (await ask(`${adminUrl}${path}`)).status]).toEqual([name, 200]);
    }
  });
});

describe('hosting/healthcheck.ts', () => {
  const check = async (env: Record<string, string>) => {
    const proc = new Proc('hosting/healthcheck.ts', env);
    const code = await proc.exit();
    return [code, proc.stdout + proc.stderr];
  };

  test('exits with 0 when the gateway is ready, else with 1 and the reason', async () => {
    const { adminUrl } = await openGateway(['http://127.0.0.1:1']);
    const { port } = new URL(adminUrl);
    expect(await check({ ADMIN_PORT: port })).toEqual([0, 'ready\n']);
    expect(await check({ ADMIN_PORT: port, ADMIN_HOST: '0.0.0.0' })).toEqual([0, 'ready\n']);
    expect(await check({ ADMIN_PORT: '1' })).toEqual([1, expect.stringContaining('not ready: fetch failed')]);
    expect(await check({ ADMIN_PORT: '' })).toEqual([1, expect.stringContaining('no listener to ask')]);
    expect(await check({ ADMIN_PORT: 'no port' })).toEqual([1, expect.stringContaining('ADMIN_PORT')]);
  });
});
