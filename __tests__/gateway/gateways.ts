import { type EchoBackend, startEchoBackend } from '../../example-gateway/demo/echo-backend.ts';
import { readConfig } from '../../lib/gateway/config/config.ts';
import type { Gateway } from '../../lib/gateway/gateway.ts';
import type { AppFactory } from '../../lib/gateway/hosted-app.ts';
import { createLogger } from '../../lib/gateway/logging/logger.ts';
import { startGateway } from '../../lib/gateway/start-gateway.ts';
import type { Json } from '../support/ask.ts';

/** A gateway in this process, and what it logged. */
export interface TestGateway {
  readonly gateway: Gateway;
  readonly url: string;
  readonly adminUrl: string;
  readonly logged: readonly Json[];
}

const opened: { close(): Promise<void> }[] = [];

export async function openBackend(name: string): Promise<EchoBackend> {
  const backend = await startEchoBackend({ name, port: 0 });
  opened.push(backend);
  return backend;
}

/** Any free ports and no log on the terminal; `env` may say otherwise. */
export async function openGateway(
  backends: readonly string[],
  env: Readonly<Record<string, string>> = {},
  app?: AppFactory,
): Promise<TestGateway> {
  const logged: unknown[] = [];
  const log = createLogger('debug', (line) => logged.push(JSON.parse(line)));
  // Few connections fit into the limit of open files of any machine: a warning of it must not decide a test.
  // No requests are shed: a busy machine must not decide a test either.
  const bounds = { MAX_CONNECTIONS: '400', LOAD_SHEDDING_DELAY_MS: '0' };
  const base = { HOST: '127.0.0.1', PORT: '0', ADMIN_PORT: '0', ...bounds, BACKENDS: backends.join() };
  const gateway = await startGateway(readConfig({ ...base, ...env }), { log, ...(app && { app }) });
  opened.push(gateway);
  return { gateway, url: gateway.url, adminUrl: gateway.adminUrl ?? '', logged };
}

/** For `afterEach`; the gateways first, which were opened last. */
export async function closeAll(): Promise<void> {
  for (const one of opened.splice(0).reverse()) await one.close();
}
