import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import { parse } from 'yaml';

const root = new URL('../../', import.meta.url);
const yaml = (path: string) => parse(readFileSync(new URL(path, root), 'utf8'));

describe('.github', () => {
  test('the workflow does what .ci/run does, asks for advisories, and nothing else, on a bare Node 20', () => {
    const { jobs, permissions } = yaml('.github/workflows/ci.yml');
    const install = 'npm ci --no-audit --no-fund';
    const commands = {
      ci: ['bash .ci/run'],
      audit: [install, 'npm run audit'],
    };
    expect(Object.keys(jobs)).toEqual(Object.keys(commands));
    for (const [job, runs] of Object.entries(commands)) {
      const steps: Record<string, unknown>[] = jobs[job].steps;
      const done = steps.map(({ run, uses }) => run ?? String(uses).split('@')[0]);
      expect(done).toEqual(['actions/checkout', 'actions/setup-node', ...runs]);
      expect(steps[1]?.with).toEqual({ 'node-version': 20 });
      expect(steps.slice(2)).toEqual(runs.map((run) => ({ run })));
    }
    expect(permissions).toEqual({ contents: 'read' });
  });

  test('issue forms have what GitHub asks for', () => {
    const folder = '.github/ISSUE_TEMPLATE/';
    const forms = readdirSync(new URL(folder, root)).filter((file) => file !== 'config.yml');
    expect(forms.sort()).toEqual(['bug.yml', 'proposal.yml']);
    for (const form of forms) {
      const { name, description, body } = yaml(folder + form);
      expect([typeof name, typeof description]).toEqual(['string', 'string']);
      const ids = body.filter(({ type }: { type: string }) => type !== 'markdown').map(({ id }: { id: string }) => id);
      expect(new Set(ids).size).toBe(ids.length);
      for (const { type, attributes } of body) {
        expect(['markdown', 'textarea', 'input', 'checkboxes', 'dropdown']).toContain(type);
        expect(typeof (type === 'markdown' ? attributes.value : attributes.label)).toBe('string');
      }
    }
  });
});
