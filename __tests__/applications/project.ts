import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** The optional peers, and what brings them along: a project has none of them unless it asks. */
const OPTIONAL = ['@opentelemetry', '@redis', 'ioredis', 'pino', 'prom-client', 'redis'];

/** What `npm pack` would put into the tarball of what runs: compiled once, for the projects of one test file. */
export class CompiledPackage {
  readonly folder = mkdtempSync(join(tmpdir(), 'expressway-package-'));

  static async compile(): Promise<CompiledPackage> {
    const made = new CompiledPackage();
    cpSync(join(ROOT, 'package.json'), join(made.folder, 'package.json'));
    const tsc = join(ROOT, 'node_modules/typescript/bin/tsc');
    await run([tsc, '-p', join(ROOT, 'tsconfig.build.json'), '--outDir', join(made.folder, 'dist')], ROOT);
    return made;
  }

  close(): void {
    rmSync(this.folder, { recursive: true });
  }
}

/**
 * A project outside the repository, as a user has it: with the package, with what the package depends on, and without any
 * optional peer. Its packages are links, so tools must not follow links to where the peers are.
 */
export class Project {
  readonly folder = mkdtempSync(join(tmpdir(), 'expressway-project-'));

  /** @param compiled Without it, there is no package at all. */
  constructor(compiled?: CompiledPackage, peers: readonly string[] = []) {
    if (compiled === undefined) return;
    const modules = join(this.folder, 'node_modules');
    mkdirSync(modules);
    cpSync(compiled.folder, join(modules, 'expressway'), { recursive: true });
    for (const name of readdirSync(join(ROOT, 'node_modules'))) {
      if (name.startsWith('.') || name === 'expressway') continue;
      if (OPTIONAL.includes(name) && !peers.includes(name)) continue;
      symlinkSync(join(ROOT, 'node_modules', name), join(modules, name));
    }
  }

  read(file: string): string {
    return readFileSync(join(this.folder, file), 'utf8');
  }

  write(file: string, text: string): void {
    writeFileSync(join(this.folder, file), text);
  }

  /** Runs Node in the project, and gives all that it printed. */
  run(args: readonly string[], env?: NodeJS.ProcessEnv): Promise<string> {
    return run(args, this.folder, env);
  }

  close(): void {
    rmSync(this.folder, { recursive: true });
  }
}

async function run(args: readonly string[], cwd: string, env: NodeJS.ProcessEnv = {}): Promise<string> {
  const child = spawn(process.execPath, args, {
    cwd,
    env: { ...process.env, NODE_OPTIONS: '', NO_COLOR: '1', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let printed = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk) => {
      printed += chunk;
    });
  }
  const [code] = await once(child, 'close');
  if (code !== 0) throw new Error(`node ${args.join(' ')} ended with ${code}:\n${printed}`);
  return printed;
}
