import { mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';

// For each process that a test starts: two thirds of the time that a start takes are spent on compiling.
process.env.NODE_COMPILE_CACHE ??= join(tmpdir(), 'expressway-test-compile-cache');

// What tests write to the system's directory for temporary files is removed with it, whatever becomes of the tests.
const temporary = mkdtempSync(join(tmpdir(), 'expressway-tests-'));
process.env.TMPDIR = temporary;
process.once('exit', () => rmSync(temporary, { recursive: true, force: true }));

export default {
  testEnvironment: 'node',
  roots: ['<rootDir>/__tests__'],
  testMatch: ['**/*.test.ts'],
  extensionsToTreatAsEsm: ['.ts'],
  transform: {
    '^.+\\.ts$': '<rootDir>/__tests__/jest.transform.js',
  },
  moduleNameMapper: {
    '^expressway$': '<rootDir>/lib/index.ts',
    '^expressway/gateway$': '<rootDir>/lib/gateway/index.ts',
    '^expressway/testing$': '<rootDir>/lib/testing/index.ts',
  },
  // What is slow because the machine is busy has not failed.
  testTimeout: 180_000,
  // Suites wait for processes, sockets and Redis longer than they compute. On two cores, 5 workers took 326 s, and 7 took 298 s.
  maxWorkers: 3 * availableParallelism() + 1,
  testSequencer: '<rootDir>/__tests__/jest.sequencer.js',
  // The modules of a suite stay in memory after it: one process for all of them grows beyond 1 GB, and is slow by then.
  workerIdleMemoryLimit: '512MB',
};
