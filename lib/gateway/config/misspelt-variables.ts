import { closestWord } from '../../core/closest-word.ts';
import { VARIABLES } from './config.ts';

/** An unknown variable, and the known one with the nearest name. */
export interface MisspeltVariable {
  readonly name: string;
  readonly meant: string;
}

/** Values of the variables that Kubernetes sets for each service of a namespace, such as `BACKEND_PORT`. */
const OF_KUBERNETES = /_SERVICE_(?:HOST|PORT)|_PORT_\d+_/;
const KUBERNETES_VALUE = /^(?:tcp|udp):\/\//;
/** Least length of a name. Shorter ones are close to too many other names. */
const LEAST_LENGTH = 6;
/** Most letters by which the lengths may differ. */
const MOST_MORE = 2;
const SHOWN = 10;

/**
 * Variables with almost the name of a variable of the gateway. The gateway cannot reject them, because an environment also has variables of
 * other programs. Values are ignored, except for the form that Kubernetes gives them.
 */
export function misspeltVariables(env: NodeJS.ProcessEnv): readonly MisspeltVariable[] {
  const known = Object.keys(VARIABLES);
  const found: MisspeltVariable[] = [];
  for (const [name, value = ''] of Object.entries(env)) {
    if (Object.hasOwn(VARIABLES, name) || name.length < LEAST_LENGTH) continue;
    if (OF_KUBERNETES.test(name) || KUBERNETES_VALUE.test(value)) continue;
    const meant = closestWord(name, known);
    if (meant === undefined || Math.abs(meant.length - name.length) > MOST_MORE || isOther(name, meant)) continue;
    // The known variable is set as well, so the other one is no misspelling of it.
    if (env[meant]) continue;
    found.push({ name, meant });
    if (found.length === SHOWN) break;
  }
  return found;
}

/** Whether the first letters of all words agree: `BACKEND_PORT` is no misspelling of `BACKEND_CERT`. */
function isOther(name: string, meant: string): boolean {
  const [given, ours] = [name, meant].map((one) => one.toUpperCase().split('_')) as [string[], string[]];
  if (given.length !== ours.length) return false;
  return given.some((word, index) => word[0] !== ours[index]?.[0]);
}
