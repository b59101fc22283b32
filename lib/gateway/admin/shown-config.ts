import type { Config } from '../config/config.ts';

export interface ShownSetting {
  readonly name: string;
  readonly value: string;
}

/**
 * Settings, and groups of them, of which it is known that they hold no secret. Whatever else there is, also what will be
 * added one day, is shown as set or not set.
 */
const HARMLESS: ReadonlySet<string> = new Set([
  'host',
  'port',
  'workers',
  'workerHangTimeoutMs',
  'backends',
  'dns',
  'loadBalancing',
  'loadBalancing.policy',
  'slowStartMs',
  'redisUrl',
  'trustProxy',
  'rateLimit',
  'circuit',
  'healthCheck',
  'maxBodyBytes',
  'ambiguousPaths',
  'identityHeaders',
  'mergeSlashes',
  'bounds',
  'connectTimeoutMs',
  'responseTimeoutMs',
  'idleTimeoutMs',
  'shutdownLeadMs',
  'shutdownTimeoutMs',
  'admin.host',
  'admin.port',
  'logLevel',
  'accessLog',
  'serverTiming',
  'tracing',
]);

const MAX_TEXT = 300;

/** The configuration for the eyes of an operator, and of whoever looks over the shoulder. */
export function shownConfig(config: Config): ShownSetting[] {
  return settingsOf('', config, false);
}

function settingsOf(prefix: string, values: object, isHarmless: boolean): ShownSetting[] {
  return Object.entries(values).flatMap(([key, value]) => {
    const name = `${prefix}${key}`;
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
      // A policy with a secret is an object where others are a word.
      const inherits = isHarmless || (HARMLESS.has(name) && name !== 'loadBalancing');
      return settingsOf(`${name}.`, value, inherits);
    }
    return [{ name, value: isHarmless || HARMLESS.has(name) ? shown(value) : hidden(value) }];
  });
}

const hidden = (value: unknown): string => (value === undefined || value === false ? 'not set' : 'set, not shown');

function shown(value: unknown): string {
  if (value === undefined) return 'not set';
  const text = Array.isArray(value) ? value.map(textOf).join(', ') || 'none' : textOf(value);
  return text.length > MAX_TEXT ? `${text.slice(0, MAX_TEXT)}…` : text;
}

/** Credentials and queries of URLs are masked wherever they stand. */
function textOf(value: unknown): string {
  if (typeof value === 'object' && value !== null) {
    const { url, weight, keepAlive } = value as { url?: string; weight?: number; keepAlive?: boolean };
    if (url === undefined) return 'set, not shown';
    return `${masked(url)}${weight === undefined ? '' : `;weight=${weight}`}${keepAlive === false ? ';keepAlive=false' : ''}`;
  }
  return masked(String(value));
}

const masked = (text: string): string => text.replace(/\/\/[^/?#\s]*@/g, '//***@').replace(/\?.*$/s, '?***');
