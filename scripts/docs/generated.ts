import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { PolicyEntry } from '../../lib/backends/selection/selection-policy.ts';
import type { Algorithm } from '../../lib/rate-limit/algorithms/algorithm.ts';
import { optionsTable } from './options-table.ts';

const TABLE = /(<!-- options: (\w+), (lib\/[\w/.-]+\.ts), (\w+) -->\n).*?(<!-- end of options -->)/gs;

const POLICIES = /(<!-- policies -->\n).*?(<!-- end of policies -->)/gs;

const OF_WEIGHTS = { respected: 'respected', ignored: 'ignored', fallback: 'as its fallback does' } as const;

/** A page with its table of selection policies as the registry has them now. */
async function withPolicies(root: string, page: string): Promise<string> {
  if (page.search(POLICIES) === -1) return page;
  const file = join(root, 'lib/backends/selection/policies.ts');
  const { policies }: { policies: readonly PolicyEntry[] } = await import(pathToFileURL(file).href);
  const rows = policies.map(({ name, required, weights, summary }) => {
    const value = required === undefined ? `'${name}'` : `{ policy: '${name}', ${required} }`;
    return `| \`${value}\` | ${OF_WEIGHTS[weights]} | ${summary} |`;
  });
  const table = ['| policy | weights | how it picks |', '| --- | --- | --- |', ...rows].join('\n');
  return page.replace(POLICIES, (_whole, begin, end) => `${begin}\n${table}\n\n${end}`);
}

const ALGORITHMS = /(<!-- algorithms -->\n).*?(<!-- end of algorithms -->)/gs;

/** A page with its table of rate limit algorithms as the registry has them now. */
async function withAlgorithms(root: string, page: string): Promise<string> {
  if (page.search(ALGORITHMS) === -1) return page;
  const file = join(root, 'lib/rate-limit/algorithms/registry.ts');
  const { ALGORITHMS: all }: { ALGORITHMS: Record<string, Algorithm> } = await import(pathToFileURL(file).href);
  const rows = Object.entries(all).map(([name, { summary, atMost, countsRefused, isRefilled, redis }]) => {
    const ownScripts = typeof redis !== 'function';
    const says = [countsRefused, isRefilled, ownScripts, ownScripts].map((one) => (one ? 'yes' : 'no'));
    return `| \`${name}\` | ${summary} | ${atMost} | ${says.join(' | ')} |`;
  });
  const head =
    '| algorithm | how it counts | at most in any window | refused requests count | `burst` | `windows`, `cost`, `keySecret` | `lease` |';
  const table = [head, '| --- | --- | --- | --- | --- | --- | --- |', ...rows].join('\n');
  return page.replace(ALGORITHMS, (_whole, begin, end) => `${begin}\n${table}\n\n${end}`);
}

const PROBLEMS = /(<!-- problems: (lib\/[\w/.-]+\.ts), (\w+) -->\n).*?(<!-- end of problems -->)/gs;

/** A page with its tables of problems as the registries have them now. */
async function withProblems(root: string, page: string): Promise<string> {
  const made: string[] = [];
  for (const [, , file = '', name = ''] of page.matchAll(PROBLEMS)) {
    const kinds: readonly Record<'problem' | 'severity' | 'meaning' | 'nextStep', string>[] = (
      await import(pathToFileURL(join(root, file)).href)
    )[name];
    const rows = kinds.map(({ problem, severity, meaning, nextStep }) => {
      return `| <a id="${problem}"></a>\`${problem}\` | ${severity} | ${meaning} | ${nextStep} |`;
    });
    made.push(['| problem | severity | what it means | next step |', '| --- | --- | --- | --- |', ...rows].join('\n'));
  }
  return page.replace(PROBLEMS, (_whole, begin, _file, _name, end) => `${begin}\n${made.shift()}\n\n${end}`);
}

/**
 * A page with its tables of options, problems, selection policies and algorithms as the source has them now. `<!-- options: Interface, file, defaults -->` says where a
 * table comes from; `none` stands for an interface without exported defaults.
 */
export async function withOptions(root: string, page: string): Promise<string> {
  const sources = [...page.matchAll(TABLE)].map(([, , name = '', file = '', defaults = '']) => ({
    name,
    file,
    defaults,
  }));
  const tables = sources.map(({ name }) => name);
  const made: string[] = [];
  for (const { name, file, defaults } of sources) {
    const path = join(root, file);
    const values = defaults === 'none' ? {} : (await import(pathToFileURL(path).href))[defaults];
    if (values === undefined) throw new Error(`${file} exports no ${defaults}`);
    made.push(optionsTable({ file: path, name, defaults: values, tables: tables.filter((one) => one !== name) }));
  }
  const withTables = page.replace(
    TABLE,
    (_whole, begin, _name, _file, _defaults, end) => `${begin}\n${made.shift()}\n\n${end}`,
  );
  return withProblems(root, await withAlgorithms(root, await withPolicies(root, withTables)));
}
