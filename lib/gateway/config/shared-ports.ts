import { isIPv4 } from 'node:net';

/** The variables of each listener: its port, and its address. */
const LISTENERS = [
  ['PORT', 'HOST'],
  ['HTTP_REDIRECT_PORT', 'HOST'],
  ['ADMIN_PORT', 'ADMIN_HOST'],
] as const;

/**
 * Listeners of one gateway that would use the same port: the second one could only say that the port is in use, as if by another program.
 *
 * @param textOf The text of a variable, or its default.
 */
export function sharedPorts(textOf: (name: string) => string): string[] {
  const open = LISTENERS.map(([name, host]) => ({ name, port: Number(textOf(name)), host: textOf(host) }));
  // Any free port is another one each time.
  const fixed = open.filter(({ port }) => port > 0);
  return fixed.flatMap(({ name, port, host }, index) =>
    fixed
      .slice(0, index)
      .filter((other) => other.port === port && overlap(other.host, host))
      .map((other) => `${name}: must not be ${port}, which ${other.name} is already`),
  );
}

/** Whether two addresses cannot have the same port. In doubt they can. */
function overlap(one: string, other: string): boolean {
  const both = [one, other];
  return one === other || both.includes('::') || (both.includes('0.0.0.0') && both.every((host) => isIPv4(host)));
}
