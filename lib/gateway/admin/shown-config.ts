import { type Config, readConfig } from '../config/config.ts';

export interface ShownSetting {
  readonly name: string;
  readonly value: string;
}

/** Settings whose values are not shown: secrets, and where keys are kept. A test makes sure that it has every variable with a secret. */
const SECRET = /^(?:tls|backendTls)\.|(?:secret|token|key|password)$/i;

const MAX_TEXT = 300;

/**
 * The configuration for operators, and for people who look over their shoulder. Whatever is no setting of the gateway is
 * shown as set or not set.
 */
export function shownConfig(config: Config): ShownSetting[] {
  const known = new Set(Object.keys(readConfig({})));
  const { declaration, ...settings } = config;
  const declared = declaration && {
    services: Object.keys(declaration.services),
    routes: declaration.routes.length,
  };
  return Object.entries({ ...settings, ...declared }).flatMap(([name, value]) =>
    settingsOf(name, value, known.has(name) || (declared !== undefined && Object.hasOwn(declared, name))),
  );
}

function settingsOf(name: string, value: unknown, isKnown: boolean): ShownSetting[] {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    return Object.entries(value).flatMap(([key, one]) => settingsOf(`${name}.${key}`, one, isKnown));
  }
  return [{ name, value: isKnown && !SECRET.test(name) ? shown(value) : hidden(value) }];
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
