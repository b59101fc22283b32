// Imports the package and does nothing with it: the process must be as it was before, and must end by itself.
import assert from 'node:assert/strict';

const listeners = () =>
  Object.fromEntries(process.eventNames().map((name) => [String(name), process.listenerCount(name)]));
const state = () => ({
  resources: process.getActiveResourcesInfo(),
  listeners: listeners(),
  env: { ...process.env },
  title: process.title,
});

// Both are Node's own and load lazily.
void [globalThis.fetch, process.stdout];
const names = new Set(Reflect.ownKeys(globalThis));
const before = state();
const entries = ['expressway', 'expressway/testing'];
for (const entry of entries) await import(entry);
assert.deepEqual(state(), before);

// undici's, on loading: the built-in fetch shares its dispatcher with it from then on. docs/package.md says so.
const known = ['Symbol(undici.globalDispatcher.1)', 'Symbol(undici.globalDispatcher.2)'];
const added = Reflect.ownKeys(globalThis).filter((name) => !names.has(name));
assert.deepEqual(
  added.map(String).filter((name) => !known.includes(name)),
  [],
);
process.stdout.write(`importing ${entries.join(' and ')} leaves nothing behind but undici's dispatcher\n`);
