const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'no such file',
  EACCES: 'this user may not read it',
  EISDIR: 'it is a directory',
};

/** Why a file cannot be read, in words. */
export const readFailure = ({ code = '', message }: NodeJS.ErrnoException): string => REASONS[code] ?? message;
