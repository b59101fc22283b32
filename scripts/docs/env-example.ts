import { SECTIONS } from '../../lib/gateway/config/config.ts';
import type { Variable } from '../../lib/gateway/config/variable.ts';

const WIDTH = 120;

const INTRO = `Copy to .env and change what you need. An empty value means the default, save for ADMIN_PORT. Every duration is in
  milliseconds. "npm run docs" writes this file, from lib/gateway/config/sections.

  SIGHUP reads the copy again, and the files that it names. Variables marked [reload] take effect at once. If anything is bad, the
  gateway logs it and changes nothing. It also logs which changed variables wait for a restart; with WORKERS, SIGUSR2 puts all but those
  marked [restart] to use. Variables of the environment win over the file. After a change of limits, counts in memory begin anew; those
  in Redis go on as long as algorithm and window stay.`;

/** The text of `.env.example`: every variable with what it means and its default. */
export function envExample(): string {
  const parts = SECTIONS.map(({ title, variables }) => {
    const entries = Object.entries<Variable>(variables).map(([name, variable]) => entry(name, variable));
    return `# --- ${title} ---\n\n${entries.join('\n')}`;
  });
  return `${[comment(INTRO), ...parts].join('\n\n')}\n`;
}

function entry(name: string, { text, default: value = '', takesEffect, isOfOneService }: Variable): string {
  const marks = [
    ...(isOfOneService === true ? ['one service'] : []),
    ...(takesEffect === undefined ? [] : [takesEffect]),
  ];
  return `${comment([text, ...marks.map((mark) => `[${mark}]`)].join(' '))}\n${name}=${value}`;
}

/** Paragraphs as comment lines. */
function comment(text: string): string {
  const paragraphs = text
    .split(/\n\s*\n/)
    .map((paragraph) => wrapped(paragraph.split(/\s+/).filter((word) => word !== '')));
  return paragraphs.map((lines) => lines.map((line) => `# ${line}`).join('\n')).join('\n#\n');
}

function wrapped(words: readonly string[]): string[] {
  const lines: string[] = [];
  for (const word of words) {
    const last = lines.at(-1);
    if (last === undefined || `# ${last} ${word}`.length > WIDTH) lines.push(word);
    else lines[lines.length - 1] = `${last} ${word}`;
  }
  return lines;
}
