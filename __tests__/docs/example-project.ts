import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { ROOT } from './pages.ts';

const BENCH = join(ROOT, 'bench', 'node_modules');
/** What examples migrate from, and only the benchmarks develop with. */
const PEERS = ['fast-gateway'];

/** Whether `bench/` is installed, as its first run does it. */
export const arePeersInstalled = existsSync(BENCH);

/** Names of the packages of a folder `node_modules`. */
const packagesOf = (modules: string): string[] =>
  readdirSync(modules)
    .filter((name) => !name.startsWith('.'))
    .flatMap((name) =>
      name.startsWith('@') ? readdirSync(join(modules, name)).map((inner) => `${name}/${inner}`) : [name],
    );

/** A project of a user, with this package and all that it develops with installed. */
export class ExampleProject {
  readonly folder = mkdtempSync(join(tmpdir(), 'expressway-docs-'));

  constructor() {
    for (const folder of ['.', '__tests__']) {
      const modules = join(ROOT, folder, 'node_modules');
      for (const name of packagesOf(modules)) this.#link(modules, name);
    }
    for (const name of PEERS) if (arePeersInstalled) this.#link(BENCH, name);
    this.write('package.json', JSON.stringify({ private: true, type: 'module' }));
  }

  /** The first package of a name stays. */
  #link(modules: string, name: string): void {
    const link = join(this.folder, 'node_modules', name);
    if (existsSync(link)) return;
    mkdirSync(dirname(link), { recursive: true });
    symlinkSync(join(modules, name), link);
  }

  write(file: string, text: string): string {
    const path = join(this.folder, file);
    writeFileSync(path, text);
    return path;
  }

  close(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}
