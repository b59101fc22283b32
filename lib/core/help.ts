/** Where the package tells the cause of a code, and what to do: as a path from the app that has installed it. */
export const helpOf = (code: string): string => `node_modules/expressway/docs/errors.md#${code}`;
