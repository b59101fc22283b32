import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { withOptions } from './generated.ts';

// npm run docs: writes the tables of options in docs/ anew, from docstrings and defaults.
const root = fileURLToPath(new URL('../..', import.meta.url));
for (const file of readdirSync(join(root, 'docs')).filter((name) => name.endsWith('.md'))) {
  const path = join(root, 'docs', file);
  const page = readFileSync(path, 'utf8');
  const made = await withOptions(root, page);
  if (made === page) continue;
  writeFileSync(path, made);
  process.stdout.write(`docs/${file}\n`);
}
