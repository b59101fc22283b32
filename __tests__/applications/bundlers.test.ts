import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Cleanup } from '../support/gateway.ts';
import { describeInstalled, installed } from './installed.ts';
import { CompiledPackage, Project } from './project.ts';

const REQUEST = `
import { createServer } from 'node:http';
import express from 'express';
import { circuitBreaker, ipRateLimit, roundRobinProxy, undiciTransport } from 'expressway';
import { createProxyMiddleware } from 'http-proxy-middleware';

const listen = (listener) =>
  new Promise((resolve) => {
    const server = createServer(listener).listen(0, '127.0.0.1', () => resolve('http://127.0.0.1:' + server.address().port));
  });

async function main() {
  const backend = await listen((req, res) => res.end('backend ' + req.url));
  const app = express();
  app.use('/plugin', createProxyMiddleware({ target: backend, plugins: [undiciTransport()] }));
  app.use(ipRateLimit({ limit: 1000 }), circuitBreaker(), roundRobinProxy({ backends: [backend] }));
  const gateway = await listen(app);
  for (const path of ['/a', '/plugin/b']) {
    const response = await fetch(gateway + path);
    console.log(response.status, await response.text());
  }
  process.exit(0);
}
main();
`;

const REDIS = `
import { createServer } from 'node:net';
import { ipRateLimit } from 'expressway';

const end = (text) => {
  console.log(text);
  process.exit(0);
};
process.once('warning', ({ code }) => end(code));
const server = createServer(() => end('redis is connected')).listen(0, '127.0.0.1', () => {
  ipRateLimit({ redis: 'redis://127.0.0.1:' + server.address().port });
});
`;

/** Bundles `app.mjs` into `out`, with the options that docs/package.md names. No links are followed: see {@link Project}. */
type Bundler = (project: Project, out: string) => Promise<unknown>;

const esbuild =
  (options: object): Bundler =>
  async (project, out) =>
    installed('esbuild').build({
      absWorkingDir: project.folder,
      entryPoints: ['app.mjs'],
      outfile: out,
      bundle: true,
      platform: 'node',
      preserveSymlinks: true,
      logLevel: 'silent',
      ...options,
    });

const webpack: Bundler = async (project, out) => {
  const tool = installed('webpack');
  const compiler = tool({
    mode: 'development',
    devtool: false,
    target: 'node',
    context: project.folder,
    entry: './app.mjs',
    resolve: { symlinks: false },
    // One file, redis included.
    plugins: [new tool.optimize.LimitChunkCountPlugin({ maxChunks: 1 })],
    output: { path: project.folder, filename: out },
  });
  await new Promise<void>((resolve, reject) => {
    compiler.run((error: Error | null, stats: { hasErrors(): boolean; toString(kind: string): string }) => {
      if (error !== null || stats.hasErrors()) reject(error ?? new Error(stats.toString('errors-only')));
      else compiler.close(() => resolve());
    });
  });
};

const requireInModules = "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);";

const BUNDLERS: readonly (readonly [name: string, out: string, bundler: Bundler])[] = [
  ['esbuild to CommonJS', 'out.cjs', esbuild({ format: 'cjs' })],
  ['esbuild to an ES module', 'out.mjs', esbuild({ format: 'esm', banner: { js: requireInModules } })],
  ['webpack', 'out.cjs', webpack],
];

describeInstalled('bundlers', () => {
  const cleanup = new Cleanup();
  let compiled: CompiledPackage;
  beforeAll(async () => {
    compiled = cleanup.add(await CompiledPackage.compile());
  });
  afterAll(() => cleanup.run());

  /** What the bundle of `app` prints, in a folder without packages. */
  async function printed(app: string, out: string, bundler: Bundler, peers: readonly string[] = []): Promise<string> {
    const project = cleanup.add(new Project(compiled, peers));
    project.write('app.mjs', app);
    await bundler(project, out);
    const alone = cleanup.add(new Project());
    alone.write(out, project.read(out));
    return alone.run([out]);
  }

  test.each(BUNDLERS)('%s: requests pass where no optional package is installed', async (_name, out, bundler) => {
    expect(await printed(REQUEST, out, bundler)).toBe('200 backend /a\n200 backend /b\n');
  });

  test.each(BUNDLERS)('%s: redis is in the bundle where it is installed', async (_name, out, bundler) => {
    expect(await printed(REDIS, out, bundler, ['redis', '@redis'])).toBe('redis is connected\n');
  });

  test.each(BUNDLERS)('%s: a missing redis causes a warning, and requests pass', async (_name, out, bundler) => {
    expect(await printed(REDIS, out, bundler)).toContain('WARN_EXPRESSWAY_REDIS_CLIENT');
  });
});
