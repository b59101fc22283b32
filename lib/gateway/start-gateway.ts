import { GatewayEvents } from '../index.ts';
import { BackendsFile } from './config/backends-file.ts';
import type { Config } from './config/config.ts';
import { GatewayFile } from './config/declaration/gateway-file.ts';
import type { Environment } from './config/env-file.ts';
import { closeOpened, Gateway, type WorkerContext } from './gateway.ts';
import { type AppFactory, middlewareOptions } from './hosted-app.ts';
import { logEvents } from './logging/event-log.ts';
import { createLogger, type Logger } from './logging/logger.ts';
import { GatewayState } from './observing/gateway-state.ts';
import { type Lines, type Observer, observe } from './observing/observe.ts';
import { withinOpenFiles } from './open-files.ts';
import { standardApp } from './standard-app.ts';
import { StartError } from './start-error.ts';

export interface GatewayDeps {
  /** Makes the app. Default: {@link standardApp}. */
  readonly app?: AppFactory;
  readonly log?: Logger;
  readonly events?: GatewayEvents;
  /** Where the access log goes, unless it is JSON: that is the logger's. Default: standard output. */
  readonly lines?: Lines;
  /** Where `reload()` reads the configuration again. Default: only the files that it names are read again. */
  readonly environment?: Environment;
  /** Makes it one of several workers: the primary has the admin listener, watches files and reads the configuration. */
  readonly worker?: WorkerContext;
  /** What is noted for the problems of the gateway. Default: its own. */
  readonly state?: GatewayState;
}

const NO_ROUTER =
  'GATEWAY_CONFIG: this app has no service router: mount serviceRouter(options.router) and return it as router, or leave the variable empty';

/**
 * When the start fails, it first closes what it has opened.
 *
 * @throws {ListenError} when the gateway cannot listen on a port.
 * @throws {BackendsError} when BACKENDS_FILE holds no usable list.
 * @throws {GatewayFileError} when GATEWAY_CONFIG holds no usable declaration.
 */
export async function startGateway(config: Config, deps: GatewayDeps = {}): Promise<Gateway> {
  const log = deps.log ?? createLogger(config.logLevel);
  const lines = deps.lines ?? { write: (line: string) => void process.stdout.write(line), dropped: 0 };
  const events = deps.events ?? new GatewayEvents();
  logEvents(events, log);
  const { environment, worker } = deps;
  const watched = worker === undefined ? config : undefined;
  const file = watched?.backendsFile === undefined ? undefined : new BackendsFile(watched.backendsFile);
  const variables = () => environment?.read().variables ?? process.env;
  const gatewayFile = watched?.gatewayFile === undefined ? undefined : new GatewayFile(watched.gatewayFile, variables);
  const backends = (await file?.read()) ?? config.backends;
  const declaration = (await gatewayFile?.read()) ?? config.declaration;
  const { config: fitting, adminConnections } = withinOpenFiles({ ...config, backends, declaration }, log);
  const { app = standardApp } = deps;
  const { state = new GatewayState() } = deps;
  const options = middlewareOptions(fitting, events, worker?.counter);
  const hosted = app({ config: fitting, options, events, log });
  let observer: Observer | undefined;
  let gateway: Gateway | undefined;
  try {
    if (declaration !== undefined && hosted.router === undefined) throw new StartError([NO_ROUTER]);
    observer = observe({ config: fitting, events, log, lines, state, isWorker: worker !== undefined }, hosted);
    const parts = { hosted, observer, log, events, environment, worker, file, gatewayFile, state, adminConnections };
    gateway = new Gateway(fitting, parts);
    await gateway.open();
    return gateway;
  } catch (error) {
    // The reason of the failed start counts.
    if (gateway !== undefined)
      await gateway.close().catch((unclosed) => log.error({ error: unclosed }, 'failed to close'));
    else await closeOpened(hosted, observer);
    throw error;
  }
}
