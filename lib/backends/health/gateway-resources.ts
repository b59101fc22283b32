import { closeSync, openSync } from 'node:fs';
import { devNull } from 'node:os';

/** Resources that the gateway's own machine can run out of, by error code. */
const SHORTAGES: Readonly<Record<string, string>> = {
  EMFILE: 'this process has no file descriptor left (raise `ulimit -n`)',
  ENFILE: 'the system has no file descriptor left',
  EADDRNOTAVAIL: 'the system has no local port or address left for a connection to this backend',
  ENOBUFS: 'the system has no memory left for connections',
  ENOMEM: 'the system has no memory left',
};

type SystemError = NodeJS.ErrnoException & { readonly errors?: readonly Error[] };

/**
 * The resource that the gateway itself lacks, if that is why a connection or a lookup failed. Such a failure tells nothing about a
 * backend.
 *
 * @returns the code of the shortage.
 */
export function shortageOf(error: Error): string | undefined {
  const { code = '', syscall = '', errors } = error as SystemError;
  // Several addresses were tried: any other error of one of them is a fact about the backend.
  if (errors !== undefined && errors.length > 0) {
    const codes = errors.map(shortageOf);
    return codes.includes(undefined) ? undefined : codes[0];
  }
  if (Object.hasOwn(SHORTAGES, code)) return code;
  // A lookup that gets no socket fails with other codes: EBUSY, ENOTFOUND, EAI_AGAIN, ECONNREFUSED.
  const isLookup = syscall === 'getaddrinfo' || syscall.startsWith('query');
  return isLookup ? missingDescriptor() : undefined;
}

/** In words, for the operator. */
export const describeShortage = (code: string): string => `${code}: ${SHORTAGES[code]}`;

/** Tests whether a file can be opened, only after a lookup has failed. */
function missingDescriptor(): string | undefined {
  try {
    closeSync(openSync(devNull, 'r'));
    return undefined;
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    return Object.hasOwn(SHORTAGES, code) ? code : undefined;
  }
}
