/**
 * Node evaluates this module before the rest of the package. On an older Node, the dependencies fail with errors that do not name the cause.
 * It uses only globals of Node, and imports nothing.
 */

const LEAST = [22, 19] as const;

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);

if (major < LEAST[0] || (major === LEAST[0] && minor < LEAST[1])) {
  throw Object.assign(
    new Error(`expressway needs Node ${LEAST.join('.')} or newer; this is ${process.versions.node}`),
    {
      code: 'ERR_EXPRESSWAY_RUNTIME',
    },
  );
}
