import { readFileSync, writeFileSync } from 'node:fs';

/** For a library these are its users' own; for a gateway, and its demo backends, that run they are its dependencies. */
const RUNTIME = ['cors', 'jose', 'pino', 'prom-client', 'redis', 'ws', 'yaml'];

const file = new URL('../../package.json', import.meta.url);
const { devDependencies, ...manifest } = JSON.parse(readFileSync(file, 'utf8'));
for (const name of RUNTIME) manifest.dependencies[name] = devDependencies[name];
writeFileSync(file, `${JSON.stringify(manifest, null, 2)}\n`);
