export { type Config, ConfigError, readConfig } from './config/config.ts';
export type { Gateway } from './gateway.ts';
export type { AppFactory, Host, HostedApp, MiddlewareOptions } from './hosted-app.ts';
export { ListenError, type ListenerName, listen } from './listener.ts';
export type { Logger } from './logging/logger.ts';
export { type RunGatewayOptions, runGateway } from './run-gateway.ts';
export { standardApp } from './standard-app.ts';
export { exitOnStartError, StartError } from './start-error.ts';
export { type GatewayDeps, startGateway } from './start-gateway.ts';
