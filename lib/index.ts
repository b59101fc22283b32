export { GatewayError } from './core/errors.ts';
export type { GatewayEventMap } from './core/events.ts';
export { GatewayEvents } from './core/events.ts';
export { OptionsError } from './core/options.ts';
