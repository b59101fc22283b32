import { isIP } from 'node:net';
import { readArguments } from '../arguments.ts';
import { UsageError } from '../command.ts';
import type { Sample } from './check.ts';

export interface DoctorOptions {
  readonly envFile: string | undefined;
  readonly sample: Sample | undefined;
  readonly json: boolean;
}

export const DOCTOR_OPTIONS = {
  'env-file': { type: 'string' },
  'sample-forwarded-for': { type: 'string' },
  peer: { type: 'string' },
  json: { type: 'boolean', default: false },
} as const;

/** @throws {UsageError} that names the first argument that cannot be meant */
export function readDoctorOptions(args: readonly string[]): DoctorOptions {
  const { values } = readArguments(args, DOCTOR_OPTIONS);
  return {
    envFile: values['env-file'],
    sample: readSample(values['sample-forwarded-for'], values.peer),
    json: values.json,
  };
}

function readSample(forwardedFor: string | undefined, peer: string | undefined): Sample | undefined {
  if (peer === undefined) {
    if (forwardedFor === undefined) return undefined;
    throw new UsageError(
      '--sample-forwarded-for needs --peer, the address that the request comes from, like --peer 10.0.0.1',
    );
  }
  if (isIP(peer) === 0) throw new UsageError(`--peer must be an IP address, got ${JSON.stringify(peer)}`);
  return { forwardedFor: forwardedFor ?? '', peer };
}
