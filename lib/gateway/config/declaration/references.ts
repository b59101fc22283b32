import { readFileSync, statSync } from 'node:fs';
import { readFailure } from '../../../core/read-failure.ts';

/** The sources of references. */
export interface References {
  readonly env: NodeJS.ProcessEnv;
  /** Called with the path of each file that is read. */
  readonly files: Set<string>;
}

/** A text with its references replaced, or a problem. */
export type Replaced =
  | { readonly text: string; readonly kind: 'none' | 'variables' | 'file' }
  | { readonly problem: string };

/** Most bytes of a file: enough for a chain of certificates. */
const MAX_FILE_BYTES = 262_144;

const REFERENCE = /\$(?:(\$)|([A-Z_][A-Z0-9_]*)|\{([A-Z_][A-Z0-9_]*)(?::-([^}]*))?\}|\{file:([^}]+)\})?/g;

/**
 * Replaces `$VAR`, `${VAR}`, `${VAR:-default}` (also for an empty variable), `${file:path}` (without the line break at its end) and `$$`,
 * which is a dollar sign. A problem names variables and files, and never shows a value.
 */
export function replaceReferences(text: string, { env, files }: References): Replaced {
  if (!text.includes('$')) return { text, kind: 'none' };
  let kind: 'none' | 'variables' | 'file' = 'none';
  const problems: string[] = [];
  const replaced = text.replace(REFERENCE, (_whole, dollar, plain, braced, fallback, path) => {
    if (dollar !== undefined) return '$';
    if (path !== undefined) {
      kind = 'file';
      files.add(path);
      return contentOf(path, problems);
    }
    const name: string | undefined = plain ?? braced;
    if (name === undefined) {
      // biome-ignore lint/suspicious/noTemplateCurlyInString: it shows what to write.
      problems.push('a dollar sign begins no $VAR, ${VAR:-default} or ${file:path}: write $$ for the sign itself');
      return '';
    }
    if (kind === 'none') kind = 'variables';
    const value = env[name];
    if (fallback !== undefined) return value || fallback;
    if (value === undefined)
      problems.push(`the variable ${name} is not set, and has no default (\${${name}:-default})`);
    return value ?? '';
  });
  return problems.length > 0 ? { problem: problems.join('; ') } : { text: replaced, kind };
}

function contentOf(path: string, problems: string[]): string {
  try {
    const found = statSync(path);
    if (!found.isFile()) throw new Error('not a regular file');
    if (found.size > MAX_FILE_BYTES) throw new Error(`larger than ${MAX_FILE_BYTES} bytes`);
    return readFileSync(path, 'utf8').replace(/\r?\n$/, '');
  } catch (error) {
    problems.push(`the file ${path} cannot be read: ${readFailure(error as Error)}`);
    return '';
  }
}

/** The value of an unquoted text by the core schema of YAML 1.2 (§10.3.2). An empty one stays a text. */
export function typedValue(text: string): unknown {
  if (/^(?:null|Null|NULL|~)$/.test(text)) return null;
  if (/^(?:true|True|TRUE)$/.test(text)) return true;
  if (/^(?:false|False|FALSE)$/.test(text)) return false;
  if (/^0o[0-7]+$/.test(text)) return Number.parseInt(text.slice(2), 8);
  if (/^(?:[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|0x[\da-fA-F]+)$/.test(text)) return Number(text);
  return text;
}
