import type { Check } from '../core/options.ts';

/** Reads one backend's URL; gives the problem as text where it is none. */
export function parseBackendUrl(value: unknown): URL | string {
  if (typeof value !== 'string') return 'must be a URL string';
  if (!URL.canParse(value)) return `"${value}" is not a URL`;
  const url = new URL(value);
  if (url.protocol !== 'http:' && url.protocol !== 'https:') return `"${value}" must start with http:// or https://`;
  // Not echoed: whoever reads the error need not see the password.
  if (url.username !== '' || url.password !== '') return 'a backend URL must not carry credentials';
  if (url.pathname !== '/' || url.search !== '' || url.hash !== '') return `"${value}" must be an origin, without path`;
  return url;
}

/** One or more distinct backend URLs. */
export const backendList: Check = (value) => {
  if (!Array.isArray(value) || value.length === 0) return 'must be a non-empty array of URLs';
  const problems: string[] = [];
  const seen = new Set<string>();
  for (const item of value) {
    const url = parseBackendUrl(item);
    if (typeof url === 'string') problems.push(url);
    else if (seen.has(url.origin)) problems.push(`"${url.origin}" is named twice`);
    else seen.add(url.origin);
  }
  return problems.length > 0 ? `is not usable: ${problems.join(', ')}` : undefined;
};
