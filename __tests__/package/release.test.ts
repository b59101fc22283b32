import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { changelogSection } from '../../scripts/release-checks.ts';

const SCRIPT = fileURLToPath(new URL('../../scripts/release.ts', import.meta.url));
const CHANGELOG = '# Changelog\n\n## [Unreleased]\n\n## [0.2.0] - 2026-11-24\n\n### Added\n- Something.\n';

/** A repository with a remote, a check that can be told to fail, and an npm that only writes down what it is asked. */
class Repository {
  readonly #base = mkdtempSync(join(tmpdir(), 'expressway-release-'));
  readonly folder = join(this.#base, 'work');

  constructor() {
    mkdirSync(join(this.folder, '.ci'), { recursive: true });
    mkdirSync(join(this.#base, 'bin'));
    for (const file of ['package.json', 'package-lock.json']) this.write(file, JSON.stringify({ version: '0.2.0' }));
    this.write('CHANGELOG.md', CHANGELOG);
    this.write('.ci/run', `test ! -e "${this.#base}/check-fails"\n`);
    const npm = `#!/bin/sh\necho "$*" >> "${this.#base}/npm.log"\ntest "$1" = "$(cat "${this.#base}/npm-fails" 2>/dev/null)" && exit 1\nexit 0\n`;
    writeFileSync(join(this.#base, 'bin/npm'), npm);
    chmodSync(join(this.#base, 'bin/npm'), 0o755);
    execFileSync('git', ['init', '--quiet', '--bare', join(this.#base, 'remote')]);
    this.git('init', '--quiet', '--initial-branch', 'main');
    this.git('remote', 'add', 'origin', join(this.#base, 'remote'));
    this.commit();
  }

  write(file: string, text: string): void {
    writeFileSync(join(this.folder, file), text);
  }

  git(...args: string[]): string {
    const identity = ['-c', 'user.name=A', '-c', 'user.email=a@example.test'];
    return execFileSync('git', [...identity, ...args], { cwd: this.folder, encoding: 'utf8', env: this.#env });
  }

  commit(): void {
    this.git('add', '--all');
    this.git('commit', '--quiet', '--message', 'x');
  }

  failCheck(): void {
    writeFileSync(join(this.#base, 'check-fails'), '');
  }

  failNpm(command: string): void {
    writeFileSync(join(this.#base, 'npm-fails'), command);
  }

  release(...args: string[]): { status: number | null; stdout: string; stderr: string } {
    const env = { ...this.#env, PATH: `${join(this.#base, 'bin')}${delimiter}${process.env.PATH}` };
    const options = { cwd: this.folder, encoding: 'utf8', env } as const;
    return spawnSync(process.execPath, ['--disable-warning=ExperimentalWarning', SCRIPT, ...args], options);
  }

  get npmCalls(): string[] {
    const log = join(this.#base, 'npm.log');
    return existsSync(log) ? readFileSync(log, 'utf8').trim().split('\n') : [];
  }

  get tags(): [local: string, remote: string] {
    return [
      this.git('tag').trim(),
      execFileSync('git', ['tag'], { cwd: join(this.#base, 'remote'), encoding: 'utf8' }).trim(),
    ];
  }

  close(): void {
    rmSync(this.#base, { recursive: true, force: true });
  }

  /** Whatever the machine's own git is set up to do. */
  readonly #env = {
    ...process.env,
    NODE_OPTIONS: '',
    GIT_CONFIG_GLOBAL: '/dev/null',
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_AUTHOR_NAME: 'A',
    GIT_AUTHOR_EMAIL: 'a@example.test',
    GIT_COMMITTER_NAME: 'A',
    GIT_COMMITTER_EMAIL: 'a@example.test',
  };
}

describe('npm run release', () => {
  let repository: Repository;
  beforeEach(() => {
    repository = new Repository();
  });
  afterEach(() => repository.close());

  test('a dry run checks and prints its steps, and changes nothing', () => {
    const { status, stdout, stderr } = repository.release('0.2.0');
    expect([status, stderr]).toEqual([0, '']);
    expect(stdout).toContain('### Added\n- Something.');
    expect(stdout.split('\n').filter((line) => line.startsWith('would run'))).toEqual([
      "would run: git tag --annotate v0.2.0 --message 'Expressway 0.2.0'",
      'would run: git push --atomic origin HEAD v0.2.0',
      'would run: npm publish',
    ]);
    expect(repository.npmCalls).toEqual(['run audit']);
    expect(repository.tags).toEqual(['', '']);
  });

  test('--execute tags, pushes and publishes', () => {
    const { status, stdout } = repository.release('0.2.0', '--execute');
    expect(status).toBe(0);
    expect(stdout).toContain('released 0.2.0');
    expect(repository.npmCalls).toEqual(['run audit', 'publish']);
    expect(repository.tags).toEqual(['v0.2.0', 'v0.2.0']);
    expect(repository.release('0.2.0').stderr).toContain('the tag v0.2.0 exists already');
  });

  test('a refused push ends it before anything is published', () => {
    repository.git('remote', 'set-url', 'origin', '/nowhere');
    const { status, stderr } = repository.release('0.2.0', '--execute');
    expect(status).toBe(1);
    expect(stderr).toMatch(/still to be done:\ngit push --atomic origin HEAD v0\.2\.0\nnpm publish\n/);
    expect(repository.npmCalls).toEqual(['run audit']);
  });

  test('a failed publish is reported as left to do', () => {
    repository.failNpm('publish');
    const { status, stderr } = repository.release('0.2.0', '--execute');
    expect([status, stderr]).toEqual([1, expect.stringContaining('still to be done:\nnpm publish\n')]);
  });

  test('checks that leave files behind are detected', () => {
    repository.write('.ci/run', 'touch left-over\n');
    repository.commit();
    const { status, stderr } = repository.release('0.2.0', '--execute');
    expect([status, stderr]).toEqual([1, expect.stringContaining('refused: the tree is not clean')]);
    expect(repository.tags).toEqual(['', '']);
  });

  test('a prerelease does not become the latest version', () => {
    for (const file of ['package.json', 'package-lock.json']) repository.write(file, '{"version":"0.2.0-rc.1"}');
    repository.write('CHANGELOG.md', CHANGELOG.replace('0.2.0', '0.2.0-rc.1'));
    repository.commit();
    expect(repository.release('0.2.0-rc.1').stdout).toContain('would run: npm publish --tag next');
  });

  test.each<[string, (repository: Repository) => void, RegExp]>([
    ['a changed file', (it) => it.write('CHANGELOG.md', `${CHANGELOG}\n`), /not clean:\n M CHANGELOG\.md/],
    ['a file that git does not know', (it) => it.write('new', ''), /not clean:\n\?\? new/],
    ['another branch', (it) => it.git('switch', '--quiet', '--create', 'other'), /branch is other, not main/],
    [
      'another version of the package',
      (it) => it.write('package.json', '{"version":"0.1.0"}'),
      /package\.json says 0\.1\.0/,
    ],
    [
      'no section',
      (it) => it.write('CHANGELOG.md', '## [Unreleased]\n- a\n'),
      /no section "## \[0\.2\.0\] - YYYY-MM-DD"/,
    ],
    ['no date', (it) => it.write('CHANGELOG.md', '## [0.2.0]\n- a\n'), /no section/],
    [
      'an empty section',
      (it) => it.write('CHANGELOG.md', '## [0.2.0] - 2026-11-24\n\n## [0.1.0] - 2026-01-01\n- a\n'),
      /is empty/,
    ],
    ['a check that fails', (it) => it.failCheck(), /bash \.ci\/run failed/],
    ['an advisory', (it) => it.failNpm('run'), /npm run audit failed/],
  ])('refuses %s, also with --execute', (name, spoil, problem) => {
    spoil(repository);
    if (/section|date|version/.test(name)) repository.commit();
    const { status, stderr } = repository.release('0.2.0', '--execute');
    expect(stderr).toMatch(problem);
    expect(status).toBe(1);
    expect(repository.npmCalls).not.toContain('publish');
    expect(repository.tags).toEqual(['', '']);
  });

  test('refuses invalid arguments', () => {
    expect(repository.release('0.2').stderr).toContain('"0.2" is no version');
    for (const args of [[], ['0.2.0', '0.3.0'], ['0.2.0', '--exeucte']]) {
      const { status, stderr } = repository.release(...args);
      expect([status, stderr]).toEqual([2, expect.stringContaining('usage: npm run release')]);
    }
  });
});

describe('the section of a version', () => {
  test('ends before the next section, without the links at the end', () => {
    const text = '## [0.2.0] - 2026-11-24\n\n- a\n\n## [0.1.0] - 2026-01-01\n- b\n\n[0.1.0]: https://example.test\n';
    expect(changelogSection(text, '0.2.0')).toBe('- a');
    expect(changelogSection(text, '0.1.0')).toBe('- b');
    expect(changelogSection(text, '1.0')).toBeUndefined();
  });
});
