import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import * as expressway from '../../lib/index.ts';
import { ExampleProject } from './example-project.ts';
import { type Block, ROOT } from './pages.ts';

/** What a fragment may speak of without saying where it comes from. */
const SURROUNDINGS = `
type Of<Name extends keyof typeof import('expressway')> = ReturnType<Extract<(typeof import('expressway'))[Name], (...given: never) => unknown>>;
declare const app: import('express').Express;
declare const server: import('node:http').Server;
declare const proxy: Of<'roundRobinProxy'>;
declare const limiter: Of<'ipRateLimit'>;
declare const breaker: Of<'circuitBreaker'>;
declare const backends: string[];
declare const redis: string;
declare const events: import('expressway').GatewayEvents;
declare const localRoutes: import('express').RequestHandler;
declare const stream: import('express').RequestHandler;
`;

const OPTIONS = {
  extends: join(ROOT, 'tsconfig.json'),
  compilerOptions: {
    types: ['node'],
    typeRoots: ['node_modules/@types'],
    allowJs: true,
    noUnusedLocals: false,
    noUnusedParameters: false,
    rewriteRelativeImportExtensions: false,
  },
  include: ['*.ts', '*.js'],
};

/** A fragment names what it uses, not where from: what this package and Express export is imported for it, on one line. */
function completed({ code }: Block): string {
  if (/^import /m.test(code)) return `${code}\nexport {};\n`;
  const used = Object.keys(expressway).filter((name) => new RegExp(`(?<![\\w.])${name}\\b`).test(code));
  const ours = `import { ${used.join(', ')} } from 'expressway';`;
  return `${ours} import express from 'express';\n${code}\nexport {};\n`;
}

/** Checks all blocks in one run of the compiler; gives what it says, by page and line. */
export function typeCheck(blocks: readonly Block[]): string[] {
  const project = new ExampleProject();
  try {
    project.write('tsconfig.json', JSON.stringify(OPTIONS));
    project.write('surroundings.d.ts', SURROUNDINGS);
    const files = new Map(blocks.map((block, index) => [`block-${index}.${block.language}`, block]));
    for (const [file, block] of files) project.write(file, completed(block));
    const tsc = join(ROOT, 'node_modules/typescript/bin/tsc');
    const args = [tsc, '-p', 'tsconfig.json', '--pretty', 'false'];
    const { stdout, status, error } = spawnSync(process.execPath, args, {
      cwd: project.folder,
      encoding: 'utf8',
      env: { ...process.env, NODE_OPTIONS: '' },
    });
    if (error !== undefined) throw error;
    const found = stdout.split('\n').filter((line) => line !== '');
    if (status !== 0 && found.length === 0) throw new Error(`tsc ended with ${status}`);
    return found.map((line) => {
      const [, file = '', at = '0', rest = ''] = /^([\w.-]+)\((\d+),\d+\): (.*)$/.exec(line) ?? [];
      const block = files.get(file);
      if (block === undefined) return line;
      const added = /^import /m.test(block.code) ? 0 : 1;
      return `${block.page}:${block.line + Number(at) - added}: ${rest}`;
    });
  } finally {
    project.close();
  }
}
