import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { optionsTable } from './options-table.ts';

const TABLE = /(<!-- options: (\w+), (lib\/[\w/.-]+\.ts), (\w+) -->\n).*?(<!-- end of options -->)/gs;

/**
 * A page with its tables of options as the source has them now. `<!-- options: Interface, file, defaults -->` says where a
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
  return page.replace(TABLE, (_whole, begin, _name, _file, _defaults, end) => `${begin}\n${made.shift()}\n\n${end}`);
}
