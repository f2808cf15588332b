import { expect } from 'chai';
import type { Browser } from 'playwright-core';
import { buildOpenApi } from '#gateway/openapi/document.ts';
import { type Harness, startHarness } from '#gateway/testing/harness.ts';
import { startBrowser } from '../support/browser.ts';

describe('the page of the OpenAPI document', function () {
  this.timeout(180_000);
  let browser: Browser | undefined;
  let gateway: Harness | undefined;

  before(async function () {
    browser = await startBrowser(this);
    gateway = await startHarness();
  });
  after(async () => {
    await browser?.close();
    await gateway?.[Symbol.asyncDispose]();
  });

  it('shows every operation, and asks the gateway', async () => {
    if (browser === undefined || gateway === undefined) throw new Error('there is no browser');
    const page = await browser.newPage();
    const faults: string[] = [];
    page.on('pageerror', (error) => faults.push(error.message));
    page.on('response', (response) => {
      if (response.status() >= 400) faults.push(`${response.status()} ${response.url()}`);
    });
    await page.goto(`${gateway.url}/docs`);
    const { paths } = buildOpenApi() as { paths: Record<string, object> };
    const operations = Object.values(paths).reduce((sum, path) => sum + Object.keys(path).length, 0);
    await page.waitForFunction((count) => document.querySelectorAll('.opblock').length === count, operations);
    await page.locator('#operations-default-getLive').click();
    await page.getByRole('button', { name: 'Try it out' }).click();
    await page.getByRole('button', { name: 'Execute' }).click();
    await page.locator('.live-responses-table .response-col_status', { hasText: '200' }).waitFor();
    expect(faults).to.deep.equal([]);
  });
});
