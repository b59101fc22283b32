import { type Check, type Finding, note, ok, warning } from './check.ts';

/** Listeners, the log, Redis, health checks and what Node itself has open. */
const RESERVE = 256;

/** Whether as many connections can be open as MAX_CONNECTIONS allows. */
export const openFiles: Check = {
  name: 'open files',
  run: async ({ config }) => [judge(limit(), config.bounds.maxConnections)],
};

/** Of this process, which has raised the soft limit to the hard one as every Node does when it starts. */
function limit(): number {
  // Without it, a report looks up the name of each address of the machine.
  Object.assign(process.report, { excludeNetwork: true });
  const { userLimits } = process.report.getReport() as {
    userLimits?: { open_files?: { soft: number | 'unlimited' } };
  };
  const soft = userLimits?.open_files?.soft;
  return typeof soft === 'number' ? soft : Number.POSITIVE_INFINITY;
}

export function judge(files: number, maxConnections: number): Finding {
  // A request holds a connection to its client and one to its backend.
  const needed = 2 * maxConnections + RESERVE;
  const has = `${Number.isFinite(files) ? files : 'any number of'} open files`;
  if (maxConnections === 0) return note(`${has}, and MAX_CONNECTIONS=0 sets no bound to connections`);
  if (files >= needed) return ok(`${has}; ${maxConnections} connections (MAX_CONNECTIONS) need up to ${needed}`);
  const most = Math.max(1, Math.floor((files - RESERVE) / 2));
  return warning(
    `only ${has}, and ${maxConnections} connections (MAX_CONNECTIONS) need up to ${needed}`,
    `Raise the limit (ulimit -n ${needed}, LimitNOFILE=${needed} in a systemd unit, --ulimit nofile=${needed} for a container) ` +
      `or set MAX_CONNECTIONS=${most}`,
  );
}
