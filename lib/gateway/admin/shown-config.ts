import { type Config, VARIABLES } from '../config/config.ts';

export interface ShownSetting {
  /** Name of the variable. */
  readonly name: string;
  readonly value: string;
  /** Whether the value is its default. */
  readonly isDefault: boolean;
}

/** Variables whose values are not shown, in addition to secrets: paths of keys. */
const HIDDEN = /_(?:CERT|KEY|CA)$/;

const MAX_TEXT = 300;

/** The variables in force, without secrets. */
export function shownConfig({ texts, declaration }: Config): ShownSetting[] {
  const settings = Object.entries(VARIABLES)
    // With GATEWAY_CONFIG, the file has options in place of these variables.
    .filter(([, { isOfOneService = false }]) => declaration === undefined || !isOfOneService)
    .map(([name, { isSecret = false, default: fallback = '' }]): ShownSetting => {
      const text = texts[name] ?? '';
      const value = isSecret || HIDDEN.test(name) ? hidden(text) : shown(text);
      return { name, value, isDefault: text === fallback };
    });
  if (declaration === undefined) return settings;
  const { services, routes } = declaration;
  const declared = `${routes.length} route${routes.length === 1 ? '' : 's'} to ${Object.keys(services).join(', ')}`;
  return settings.map((one) =>
    one.name === 'GATEWAY_CONFIG' ? { ...one, value: shown(`${one.value} (${declared})`) } : one,
  );
}

const hidden = (text: string): string => (text === '' ? 'not set' : 'set, not shown');

function shown(text: string): string {
  if (text === '') return 'not set';
  const safe = masked(text);
  return safe.length > MAX_TEXT ? `${safe.slice(0, MAX_TEXT)}…` : safe;
}

/** Masks credentials and queries of URLs anywhere in a text. */
const masked = (text: string): string => text.replace(/\/\/[^/?#\s]*@/g, '//***@').replace(/\?.*$/s, '?***');
