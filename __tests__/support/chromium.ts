import { existsSync } from 'node:fs';
import { describe } from '@jest/globals';
import { type Browser, chromium, type Page } from 'playwright-core';

const PATH = process.env.CHROMIUM_PATH ?? '/usr/bin/chromium';

const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--hide-scrollbars',
];

/** `describe` where there is a Chromium; else its tests are skipped, which is said. With CI=true they fail instead. */
export function describeInChromium(name: string, tests: () => void): void {
  if (existsSync(PATH) || process.env.CI === 'true') {
    describe(name, tests);
    return;
  }
  process.stderr.write(`SKIPPED: "${name}" needs a Chromium at ${PATH}, or CHROMIUM_PATH\n`);
  describe.skip(name, tests);
}

export function launchChromium(): Promise<Browser> {
  return chromium.launch({ executablePath: PATH, headless: true, args: FLAGS });
}

/** Everything that a page complains of: errors, console messages above "log", and breaches of its own policy. */
export function complaintsOf(page: Page): readonly string[] {
  const complaints: string[] = [];
  page.on('pageerror', (error) => complaints.push(`error: ${error.message}`));
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) complaints.push(`${message.type()}: ${message.text()}`);
  });
  page.on('requestfailed', (request) => {
    // The page's own stream ends with the page.
    if (!request.url().endsWith('/events')) complaints.push(`failed: ${request.url()}`);
  });
  return complaints;
}
