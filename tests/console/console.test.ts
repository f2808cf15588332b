import { expect } from 'chai';
import type { Browser, Page } from 'playwright-core';
import { screenshot, startBrowser } from '../support/browser.ts';
import { type Cluster, startCluster } from '../support/cluster.ts';
import { post } from '../support/http.ts';

describe('the console in a browser', function () {
  this.timeout(180_000);
  let browser: Browser | undefined;
  let cluster: Cluster;
  let page: Page;
  /** What went wrong in the page; every test wants nothing. */
  const faults: string[] = [];

  before(async function () {
    browser = await startBrowser(this);
    const worker = { engine: 'mocker', settings: { model: 'm' } } as const;
    cluster = await startCluster({ workers: [worker, worker] });
    page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
    page.on('pageerror', (error) => faults.push(error.message));
    page.on('console', (message) => {
      if (message.type() === 'error') faults.push(message.text());
    });
    page.on('response', (response) => {
      if (response.status() >= 500) faults.push(`${response.status()} ${response.url()}`);
    });
    page.on('request', (request) => {
      if (!request.url().startsWith(cluster.url)) faults.push(`asked ${request.url()}`);
    });
  });

  after(async () => {
    await browser?.close();
    await cluster?.stop();
  });

  /** Resolves once the page has this text. */
  const shown = (text: string): Promise<unknown> =>
    page.waitForFunction((wanted) => document.querySelector('main')?.textContent?.includes(wanted), text);

  afterEach(() => expect(faults).to.deep.equal([]));

  it('shows topology, models, workers and their load', async () => {
    await page.goto(`${cluster.url}/console`);
    await page.waitForSelector('svg.topology rect.good');
    await page.getByRole('cell', { name: 'm', exact: true }).first().waitFor();
    await page.waitForFunction(() => document.querySelectorAll('meter').length >= 2);
    expect(await page.locator('svg.topology rect.bad').count()).to.equal(0);
    const boxes = await page.locator('svg.topology rect').count();
    expect(boxes).to.be.at.least(2);
    await screenshot(page, 'console-overview');
  });

  it('shows the life of a request with the router’s reasons', async () => {
    const body = { model: 'm', messages: [{ role: 'user', content: 'Tell me a story. '.repeat(20) }], max_tokens: 8 };
    await post(`${cluster.url}/v1/chat/completions`, JSON.stringify({ ...body, nvext: { annotations: ['routing'] } }));
    const request = page.locator('table.requests a').first();
    await request.waitFor();
    await request.click();
    await page.waitForSelector('svg.timeline rect.bar');
    // What the page shows first may have been asked while the request ran.
    for (const text of ['blocks in the prompt', 'answered', 'first token']) await shown(text);
    await screenshot(page, 'console-request');
  });

  it('shows the sessions of agents and what they used', async () => {
    const body = JSON.stringify({ model: 'm', messages: [{ role: 'user', content: 'Go on.' }], max_tokens: 2 });
    const agent = { 'x-claude-code-session-id': 'secret', 'x-claude-code-agent-id': 'child' };
    for (let turn = 0; turn < 2; turn++) await post(`${cluster.url}/v1/chat/completions`, body, agent);
    await page.goto(`${cluster.url}/console`);
    const row = page.locator('table.sessions tr').nth(1);
    await row.waitFor();
    for (const text of ['claude-code', '↳ sha256:']) await shown(text);
    expect(await row.textContent()).not.to.contain('child');
    await screenshot(page, 'console-sessions');
  });

  it('chats, and leads to how the answer came to be', async () => {
    await page.goto(`${cluster.url}/console#/chat`);
    await page.locator('select[name=model] option').first().waitFor({ state: 'attached' });
    await page.locator('textarea[name=message]').fill('Why is the sky blue?');
    await page.locator('input[name=max_tokens]').fill('16');
    await page.getByRole('button', { name: 'Send' }).click();
    await page.waitForFunction(() => (document.querySelector('.assistant .content')?.textContent ?? '') !== '');
    await screenshot(page, 'console-chat');
    await page.getByRole('link', { name: 'How this was answered' }).click();
    await page.waitForSelector('svg.timeline rect.bar');
    await shown('cost');
  });

  it('says what is wrong with tools that are no JSON, and with a request that is refused', async () => {
    await page.goto(`${cluster.url}/console#/chat`);
    await page.locator('textarea[name=tools]').fill('[not json');
    await page.locator('textarea[name=message]').fill('Hi');
    await page.getByRole('button', { name: 'Send' }).click();
    await page.waitForFunction(() => (document.querySelector('.notice')?.textContent ?? '').includes('JSON'));
    await page.locator('textarea[name=tools]').fill('');
    await page.locator('input[name=max_tokens]').fill('100000000');
    await page.getByRole('button', { name: 'Send' }).click();
    await page.waitForFunction(() => (document.querySelector('.notice')?.textContent ?? '').includes('tokens'));
    // The browser itself notes answers of 400.
    faults.length = 0;
  });
});
