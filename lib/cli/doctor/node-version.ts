import { isSupportedNode, leastNode } from '../least-node.ts';
import { type Check, failure, ok } from './check.ts';

/** Whether this Node is one that the package supports. */
export const nodeVersion: Check = {
  name: 'node',
  async run() {
    const { node } = process.versions;
    if (isSupportedNode(node)) return [ok(`Node ${node}`)];
    return [failure(`Node ${node} is older than ${leastNode()}`, `Install Node ${leastNode()} or newer`)];
  },
};
