import { type Check, type Finding, note, ok, warning } from './check.ts';

/** Whether as many connections can be open as MAX_CONNECTIONS allows. */
export const openFiles: Check = {
  name: 'open files',
  async run({ config: { bounds, backends } }) {
    const { openFileLimit } = await import('../../gateway/open-files.ts');
    return [await judge(openFileLimit(), bounds.maxConnections, backends.length)];
  },
};

export async function judge(files: number, maxConnections: number, backends: number): Promise<Finding> {
  const { filesFor, shareOut } = await import('../../gateway/open-files.ts');
  const needed = filesFor(maxConnections, backends);
  const has = `${Number.isFinite(files) ? files : 'any number of'} open files`;
  const { connections } = shareOut(files, backends);
  if (maxConnections === 0) return note(`${has}: MAX_CONNECTIONS=0 sets no bound, the gateway takes ${connections}`);
  if (maxConnections <= connections) return ok(`${has} are enough for ${maxConnections} connections (MAX_CONNECTIONS)`);
  return warning(
    `only ${has}, and ${maxConnections} connections (MAX_CONNECTIONS) need up to ${needed}: the gateway takes ${connections}`,
    `Raise the limit (ulimit -n ${needed}, LimitNOFILE=${needed} in a systemd unit, --ulimit nofile=${needed} for a container) ` +
      `or set MAX_CONNECTIONS=${connections}`,
  );
}
