import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** What a release is made from. */
export interface Tree {
  /** The folder of package.json. */
  readonly folder: string;
  readonly version: string;
}

const BRANCH = 'main';
const SEMVER = /^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?$/;

/** What keeps a tree from being released, in sentences; all that can be told without running anything. */
export function releaseProblems({ folder, version }: Tree): string[] {
  if (!SEMVER.test(version)) return [`"${version}" is no version like 1.2.3 or 1.2.3-rc.1`];
  const problems: string[] = [];
  const git = (...args: string[]) => execFileSync('git', args, { cwd: folder, encoding: 'utf8' }).trimEnd();
  const read = (file: string) => readFileSync(join(folder, file), 'utf8');

  const changed = git('status', '--porcelain');
  if (changed !== '') problems.push(`the tree is not clean:\n${changed}`);
  const branch = git('branch', '--show-current');
  if (branch !== BRANCH) problems.push(`the branch is ${branch === '' ? 'none' : branch}, not ${BRANCH}`);
  if (git('tag', '--list', `v${version}`) !== '') problems.push(`the tag v${version} exists already`);

  for (const file of ['package.json', 'package-lock.json']) {
    const told = (JSON.parse(read(file)) as { version?: string }).version;
    if (told !== version) problems.push(`${file} says ${told}, not ${version}`);
  }
  const section = changelogSection(read('CHANGELOG.md'), version);
  if (section === undefined) problems.push(`CHANGELOG.md has no section "## [${version}] - YYYY-MM-DD"`);
  else if (section === '') problems.push(`the section of ${version} in CHANGELOG.md is empty`);
  return problems;
}

/** What CHANGELOG.md says of a version, under a heading with a date (Keep a Changelog 1.1.0). */
export function changelogSection(changelog: string, version: string): string | undefined {
  const heading = `## [${version}] - `;
  const sections = changelog.split(/^(?=## )/m);
  const section = sections.find(
    (one) => one.startsWith(heading) && /^\d{4}-\d{2}-\d{2}\s/.test(one.slice(heading.length)),
  );
  return section
    ?.split('\n')
    .slice(1)
    .filter((line) => !/^\[[^\]]+\]: /.test(line))
    .join('\n')
    .trim();
}
