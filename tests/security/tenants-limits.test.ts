import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import type { GatewayConfig } from '#gateway/config.ts';
import { type Harness, startHarness } from '#gateway/testing/harness.ts';
import { answering, ScriptedWorker } from '#gateway/testing/scripted-worker.ts';
import { until } from '#tests/support/until.ts';

const hashOf = (key: string): string => `sha256:${createHash('sha256').update(key).digest('hex')}`;

/** What somebody tries who holds a key with limits and wants more. */
describe('limits, seen by those who want more', function () {
  this.timeout(60_000);
  let directory = '';
  let worker = new ScriptedWorker();

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'stator-limits-'));
    worker = new ScriptedWorker(answering('Yes'));
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  async function withKey(limits: object, changes: Partial<GatewayConfig> = {}): Promise<Harness> {
    const apiKeysFile = join(directory, 'keys.yaml');
    const keys = [{ id: 'a', hash: hashOf('key'), ...limits }];
    writeFileSync(apiKeysFile, JSON.stringify({ keys }));
    const store = `sqlite:${join(directory, 'store.db')}`;
    const gateway = await startHarness({ apiKeysFile, store, limitsSyncMs: 20, ...changes });
    gateway.addWorker(1n, worker);
    return gateway;
  }

  function chat(gateway: Harness, more: object = {}, init: RequestInit = {}): Promise<Response> {
    const body = { model: 'test-model', messages: [{ role: 'user', content: 'Hi' }], ...more };
    const headers = { 'content-type': 'application/json', authorization: 'Bearer key' };
    return gateway.post('/v1/chat/completions', body, { headers, ...init });
  }

  async function statusOf(response: Promise<Response>): Promise<number> {
    const { status, body } = await response;
    await body?.cancel();
    return status;
  }

  it('are charged for answers that they leave before the end', async () => {
    worker.script = (sequence) => {
      sequence.prefilled();
      sequence.tokens('some tokens');
    };
    await using gateway = await withKey({ tokens_per_day: 20 });
    const leave = new AbortController();
    const response = await chat(gateway, { stream: true }, { signal: leave.signal });
    await response.body?.getReader().read();
    leave.abort();
    await until('the engine was told', () => worker.sequences[0]?.cancelled === true);
    worker.script = answering('Yes');
    await until('the budget is used up', async () => (await statusOf(chat(gateway))) === 429);
  });

  it('free their places by leaving, and hold no more of them by hanging', async () => {
    worker.script = (sequence) => sequence.prefilled();
    await using gateway = await withKey({ concurrent_requests: 2 });
    const leave = new AbortController();
    const running = [1, 2].map(() => chat(gateway, {}, { signal: leave.signal }).catch(() => null));
    await until('two run', () => worker.sequences.length === 2);
    const refused = await Promise.all(Array.from({ length: 20 }, () => statusOf(chat(gateway))));
    expect(new Set(refused)).to.deep.equal(new Set([429]));
    expect(worker.sequences).to.have.length(2);
    leave.abort();
    await Promise.all(running);
    worker.script = answering('Yes');
    await until('there is room again', async () => (await statusOf(chat(gateway))) === 200);
  });

  it('gain nothing by writing their key in other ways, by bad requests, or by other APIs', async () => {
    await using gateway = await withKey({ requests_per_minute: 4 });
    const ask = (headers: Record<string, string>, path = '/v1/chat/completions', body: object = {}): Promise<number> =>
      statusOf(gateway.post(path, body, { headers: { 'content-type': 'application/json', ...headers } }));
    expect(await ask({ authorization: 'bearer key' })).to.equal(400);
    expect(await ask({ 'x-api-key': 'key' }, '/v1/messages')).to.equal(400);
    expect(await ask({ authorization: 'Bearer  key ', 'x-forwarded-for': '203.0.113.1' }, '/v1/completions')).to.equal(
      400,
    );
    expect(await ask({ 'x-api-key': ' key ', 'x-real-ip': '203.0.113.2' }, '/tokenize')).to.equal(400);
    for (const path of ['/v1/chat/completions', '/v1/messages', '/v1/embeddings', '/tokenize', '/v1/responses'])
      expect(await ask({ 'x-api-key': 'key' }, path), path).to.equal(429);
  });

  it('gain nothing by a gateway that begins anew, or by another one', async () => {
    const limits = { requests_per_minute: 3 };
    {
      await using gateway = await withKey(limits);
      for (let index = 0; index < 3; index++) expect(await statusOf(chat(gateway))).to.equal(200);
    }
    await using again = await withKey(limits);
    await using another = await withKey(limits);
    const statuses = [await statusOf(chat(again)), await statusOf(chat(another))];
    // One more at most, where this took twenty seconds.
    expect(statuses).to.include(429);
  });
});
