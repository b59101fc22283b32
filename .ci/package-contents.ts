import { posix } from 'node:path';

/** What is read of a `Package` of @arethetypeswrong/core. */
export interface PackedFiles {
  readonly packageName: string;
  listFiles(folder: string): string[];
  readFile(path: string): string;
  fileExists(path: string): boolean;
}

/** All that belongs into the package: what runs, what it was compiled from, and what its messages name. */
const WANTED = [
  /^(package\.json|README\.md|LICENSE|CHANGELOG\.md)$/,
  /^docs\/(?:README|[a-z0-9-]+|decisions\/(?:README|[0-9a-z.-]+))\.md$/,
  /^(SECURITY|CONTRIBUTING)\.md$/,
  /^(\.env\.example|gateway\.schema\.json)$/,
  /^dist\/lib\/.+\.(js|js\.map|d\.ts|d\.ts\.map)$/,
  /^lib\/.+\.ts$/,
  // The files of the status page.
  /^dist\/lib\/gateway\/admin\/.+\.(js|html|css|json|svg)$/,
];

/** What is wrong with the list of files, in sentences. */
export function contentsProblems(contents: PackedFiles): string[] {
  const root = `/node_modules/${contents.packageName}`;
  const short = (path: string) => posix.relative(root, path);
  const missing = (paths: readonly string[]) => paths.filter((path) => !contents.fileExists(path)).map(short);
  const manifest = JSON.parse(contents.readFile(`${root}/package.json`));
  const promised = [...filesIn(manifest.exports), ...filesIn(manifest.bin)].map((path) => posix.join(root, path));
  const unwanted = contents
    .listFiles(root)
    .map(short)
    .filter((path) => !WANTED.some((pattern) => pattern.test(path)));
  return [
    ...unwanted.map((path) => `${path} does not belong into the package`),
    ...missing(promised).map((path) => `${path} is promised by package.json, and is not there`),
    // Of such a source, editors and debuggers show nothing.
    ...missing(mappedSources(contents, root)).map((path) => `${path} is named by a map, and is not there`),
  ];
}

function mappedSources(contents: PackedFiles, root: string): string[] {
  const maps = contents.listFiles(root).filter((path) => path.endsWith('.map'));
  return maps.flatMap((path) => {
    const { sources } = JSON.parse(contents.readFile(path)) as { sources: string[] };
    return sources.map((source) => posix.join(posix.dirname(path), source));
  });
}

/** The leaves of a tree of conditions. */
function filesIn(value: unknown): string[] {
  return typeof value === 'string' ? [value] : Object.values(value as object).flatMap(filesIn);
}
