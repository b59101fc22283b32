import { closestWord } from '../../core/closest-word.ts';
import { VARIABLES } from './config.ts';

/** An unknown variable, and the known one with the nearest name. */
export interface MisspeltVariable {
  readonly name: string;
  readonly meant: string;
}

/** What Kubernetes puts into the environment for each service of a namespace, like `BACKEND_PORT`. */
const OF_KUBERNETES = /_SERVICE_(?:HOST|PORT)|_PORT_\d+_/;
const KUBERNETES_VALUE = /^(?:tcp|udp):\/\//;
/** Shorter names are near to too many others. */
const LEAST_LENGTH = 6;
/** Of longer ones, at most so many letters may differ in number. */
const MOST_MORE = 2;
const SHOWN = 10;

/**
 * Variables that nearly have the name of one of the gateway. It cannot refuse them: what else is in an environment is not its business.
 * Values are not looked at, but for the form that Kubernetes gives them.
 */
export function misspeltVariables(env: NodeJS.ProcessEnv): readonly MisspeltVariable[] {
  const known = Object.keys(VARIABLES);
  const found: MisspeltVariable[] = [];
  for (const [name, value = ''] of Object.entries(env)) {
    if (Object.hasOwn(VARIABLES, name) || name.length < LEAST_LENGTH) continue;
    if (OF_KUBERNETES.test(name) || KUBERNETES_VALUE.test(value)) continue;
    const meant = closestWord(name, known);
    if (meant === undefined || Math.abs(meant.length - name.length) > MOST_MORE || isOther(name, meant)) continue;
    // Both are set: the other one is not a misspelling of it.
    if (env[meant]) continue;
    found.push({ name, meant });
    if (found.length === SHOWN) break;
  }
  return found;
}

/** `BACKEND_PORT` is another name than `BACKEND_CERT`, and no misspelling of it: people get the first letter of a word right. */
function isOther(name: string, meant: string): boolean {
  const [given, ours] = [name, meant].map((one) => one.toUpperCase().split('_')) as [string[], string[]];
  if (given.length !== ours.length) return false;
  return given.some((word, index) => word[0] !== ours[index]?.[0]);
}
