import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ROOT } from './pages.ts';

const BENCH = join(ROOT, 'bench', 'node_modules');
/** What examples migrate from, and only the benchmarks develop with. */
const PEERS = ['fast-gateway'];

/** Whether `bench/` is installed, as its first run does it. */
export const arePeersInstalled = existsSync(BENCH);

/** A project of a user, with this package and all that it develops with installed. */
export class ExampleProject {
  readonly folder = mkdtempSync(join(tmpdir(), 'expressway-docs-'));

  constructor() {
    const modules = join(this.folder, 'node_modules');
    mkdirSync(modules);
    for (const name of readdirSync(join(ROOT, 'node_modules'))) {
      if (!name.startsWith('.')) symlinkSync(join(ROOT, 'node_modules', name), join(modules, name));
    }
    for (const name of PEERS) if (arePeersInstalled) symlinkSync(join(BENCH, name), join(modules, name));
    symlinkSync(ROOT, join(modules, 'expressway'));
    this.write('package.json', JSON.stringify({ private: true, type: 'module' }));
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
