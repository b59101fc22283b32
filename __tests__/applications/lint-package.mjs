// Looks at a tarball as strangers get it: what is in it, publint, are-the-types-wrong. Any finding fails.
// Usage: lint-package.mjs TARBALL
import { readFileSync } from 'node:fs';
import { checkPackage, createPackageFromTarballData } from '@arethetypeswrong/core';
import { publint } from 'publint';
import { formatMessage } from 'publint/utils';
import { contentsProblems } from '../../.ci/package-contents.ts';

/**
 * The package is an ES module, and Node loads it by `require()` as well: what a TypeScript before `module: node20` and the
 * resolution of Node 10 say against that is known. docs/package.md.
 */
const KNOWN = new Set(['CJSResolvesToESM node16-cjs', 'NoResolution node10']);

const tarball = new Uint8Array(readFileSync(process.argv[2]));
const contents = createPackageFromTarballData(tarball);
const { problems } = await checkPackage(contents);
const wrong = (problems ?? [{ kind: 'no types' }]).filter(
  ({ kind, resolutionKind }) => !KNOWN.has(`${kind} ${resolutionKind}`),
);
const { messages, pkg } = await publint({ pack: { tarball: tarball.buffer }, strict: true });
const findings = [
  ...contentsProblems(contents),
  ...wrong.map((problem) => `are-the-types-wrong: ${JSON.stringify(problem)}`),
  ...messages.map((message) => `publint: ${formatMessage(message, pkg, { color: false })}`),
];
for (const finding of findings) process.stderr.write(`${finding}\n`);
const files = contents.listFiles();
const bytes = files.reduce((sum, file) => sum + Buffer.byteLength(contents.readFile(file)), 0);
process.stdout.write(`${tarball.length} bytes packed, ${bytes} unpacked, ${files.length} files\n`);
if (findings.length === 0) process.stdout.write('publint and are-the-types-wrong find nothing\n');
process.exitCode = findings.length > 0 ? 1 : 0;
