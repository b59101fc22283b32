import { type Config, VARIABLES } from '../config/config.ts';

export interface ShownSetting {
  /** Of the variable. */
  readonly name: string;
  readonly value: string;
  /** Whether the value is its default. */
  readonly isDefault: boolean;
}

/** Variables whose values are not shown, beside those that are secrets: where keys are kept. */
const HIDDEN = /_(?:CERT|KEY|CA)$/;

const MAX_TEXT = 300;

/** The variables in force, for operators and for people who look over their shoulder. */
export function shownConfig({ texts, declaration }: Config): ShownSetting[] {
  const settings = Object.entries(VARIABLES)
    // With GATEWAY_CONFIG the file has an option in their place.
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

/** Credentials and queries of URLs are masked wherever they stand. */
const masked = (text: string): string => text.replace(/\/\/[^/?#\s]*@/g, '//***@').replace(/\?.*$/s, '?***');
