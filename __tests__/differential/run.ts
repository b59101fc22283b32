import { compare, differs, onlyOurs } from './comparison.ts';
import { CLOSES, keepAliveRace } from './keep-alive-race.ts';
import { versionOf } from './reference-proxy.ts';
import { compareResponses } from './responses.ts';
import { readTable, rowOf, writeRow } from './table.ts';

const RACES = 5_000;

/** Prints the rows for docs/differential.md, with the reasons that it already has. */
const say = (text: string) => process.stdout.write(`${text}\n`);

if (versionOf('nginx') === undefined || versionOf('HAProxy') === undefined) {
  say('nginx and haproxy must be on the path');
  process.exitCode = 1;
} else {
  const { rows, responses } = readTable();
  const compared = await compare();
  const whys = new Map([...rows, ...responses].map(({ id, why }) => [id, why]));
  say(`nginx ${versionOf('nginx')}, HAProxy ${versionOf('HAProxy')}, ${compared.length} cases\n`);
  for (const one of compared.filter(differs)) say(writeRow(rowOf(one, whys.get(one.id))));
  say('\nResponses\n');
  for (const row of await compareResponses()) say(writeRow({ ...row, why: whys.get(row.id) ?? '' }));
  say('\nPOST requests that fail when their backend closes connections 2 to 8 ms after a response\n');
  for (const closes of CLOSES) {
    const { ours, nginx, haproxy } = await keepAliveRace(closes, RACES);
    say(`| ${closes} | ${ours} | ${nginx} | ${haproxy} |`);
  }
  const bad = compared.filter((one) => onlyOurs(one).length > 0);
  for (const one of bad) say(`\nOnly ours sends on, in "${one.id}": ${onlyOurs(one).join(', ')}`);
  if (bad.length > 0) process.exitCode = 1;
}
