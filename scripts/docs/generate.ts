import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { envExample } from './env-example.ts';
import { gatewaySchema } from './gateway-schema.ts';
import { withOptions } from './generated.ts';

// npm run docs: writes .env.example from the registry of variables, gateway.schema.json from the checks of a declaration, and the tables of options in docs/ from docstrings and defaults.
const root = fileURLToPath(new URL('../..', import.meta.url));

async function update(name: string, made: (before: string) => string | Promise<string>): Promise<void> {
  const path = join(root, name);
  const before = readFileSync(path, 'utf8');
  const after = await made(before);
  if (after === before) return;
  writeFileSync(path, after);
  process.stdout.write(`${name}\n`);
}

await update('.env.example', envExample);
await update('gateway.schema.json', () => gatewaySchema(root));
for (const file of readdirSync(join(root, 'docs')).filter((name) => name.endsWith('.md'))) {
  await update(`docs/${file}`, (page) => withOptions(root, page));
}
