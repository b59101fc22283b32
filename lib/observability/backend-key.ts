/** What one backend of one proxy is kept under: several proxies may have the same backend. No origin has a line break. */
export const backendKey = (proxy: string, backend: string): string => `${proxy}\n${backend}`;
