import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import type { Context } from 'mocha';
import { type Browser, chromium, type Page } from 'playwright-core';
import { skip } from './skip.ts';

const places = [
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
  '/usr/bin/google-chrome-stable',
];

/** A headless Chromium of this machine; skips where there is none. */
export async function startBrowser(context: Context): Promise<Browser> {
  const executablePath = places.find((place) => existsSync(place));
  if (executablePath === undefined) skip(context, 'there is no Chromium; Debian: apt-get install chromium');
  return chromium.launch({
    executablePath,
    // It starts as root in containers; and it shall ask nobody but the page's server.
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--disable-background-networking',
      '--disable-component-update',
    ],
  });
}

/** Keeps what the page shows, for people who look at the run later. */
export async function screenshot(page: Page, name: string): Promise<void> {
  const folder = path.join(import.meta.dirname, '..', '..', 'build', 'screenshots');
  await mkdir(folder, { recursive: true });
  await page.screenshot({ path: path.join(folder, `${name}.png`), fullPage: true });
}
