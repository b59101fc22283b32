import { readFileSync } from 'node:fs';
import type { Compared } from './comparison.ts';

const TABLE_FILE = new URL('../../docs/differential.md', import.meta.url);

export interface Row {
  readonly id: string;
  readonly ours: string;
  readonly nginx: string;
  readonly haproxy: string;
  readonly why: string;
}

/** The rows of the table of differences in a text, in order. */
function readRows(text: string): Row[] {
  return text
    .split('\n')
    .filter((line) => line.startsWith('| ') && !line.startsWith('| case ') && !line.startsWith('| --'))
    .map((line) => {
      const [, id = '', ours = '', nginx = '', haproxy = '', why = ''] = line
        .split(/(?<!\\)\|/)
        .map((cell) => cell.trim());
      return { id, ours: plain(ours), nginx: plain(nginx), haproxy: plain(haproxy), why };
    });
}

export interface Table {
  /** Requests, as each proxy sends them on. */
  readonly rows: Row[];
  /** Responses, as the client gets them. */
  readonly responses: Row[];
  readonly versions: Record<'nginx' | 'HAProxy', string>;
}

export function readTable(): Table {
  const text = readFileSync(TABLE_FILE, 'utf8');
  const version = (name: string) => new RegExp(`${name} ([\\d.]+\\d)`).exec(text)?.[1] ?? '';
  const [requests = '', responses = ''] = text.split(/\n## .*\n/);
  return {
    rows: readRows(requests),
    responses: readRows(responses),
    versions: { nginx: version('nginx'), HAProxy: version('HAProxy') },
  };
}

export function rowOf({ id, ours, nginx, haproxy }: Compared, why = ''): Row {
  return { id, ours: ours.text, nginx: nginx.text, haproxy: haproxy.text, why };
}

export function writeRow({ id, ours, nginx, haproxy, why }: Row): string {
  return `| ${[id, code(ours), code(nginx), code(haproxy), why].join(' | ')} |`;
}

const code = (text: string) => `\`${text.replaceAll('|', '\\|')}\``;
const plain = (cell: string) => cell.replace(/^`|`$/g, '').replaceAll('\\|', '|');
