import type { Declaration } from '../../../index.ts';
import { file, optional, section } from '../variable.ts';

export interface ServicesConfig {
  /** File of services and routes, which replace `backends`. */
  readonly gatewayFile: string | undefined;
  /** The content of that file. The caller that starts the gateway reads it, not a variable. */
  readonly declaration: Declaration | undefined;
}

export const services = section(
  'Several services',
  {
    GATEWAY_CONFIG: {
      text: `YAML or JSON file with several services and the routes to them, like example-gateway/gateway.yaml, in place of BACKENDS. The
        gateway watches it; it refuses a bad file as a whole, and nothing changes. "npx expressway check" says what is in it. Variables
        marked [one service] must then be empty or have their defaults: the file has options for them. docs/services.md has more. Its
        path changes only at a restart.`,
      read: optional(file),
      takesEffect: 'restart',
    },
  },
  (read): ServicesConfig => ({ gatewayFile: read.GATEWAY_CONFIG, declaration: undefined }),
);
