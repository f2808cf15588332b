import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import OpenAI, { toFile } from 'openai';
import { type Cluster, startCluster } from '../support/cluster.ts';
import { until } from '../support/until.ts';

const MODEL = 'synthetic';
const REQUESTS = 30;
const endpoint = '/v1/chat/completions';

describe('a gateway killed amid a batch', function () {
  this.timeout(120_000);
  let cluster: Cluster;
  let folder: string;

  before(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'stator-batches-'));
    cluster = await startCluster({
      workers: [{ engine: 'mocker', settings: { model: MODEL, stepMs: 20 } }],
      gateway: { store: `sqlite:${path.join(folder, 'store.db')}`, batchConcurrency: 2 },
      separateProcesses: true,
      discovery: 'file',
      common: { discoveryTtlSeconds: 2 },
    });
  });

  after(async () => {
    await cluster?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  const clientOf = (address: string): OpenAI =>
    new OpenAI({ baseURL: `http://${address}/v1`, apiKey: 'none', maxRetries: 0 });

  it('another one goes on with it and answers what has no answer yet', async () => {
    const first = clientOf(cluster.member('gateway').address);
    const lines = Array.from({ length: REQUESTS }, (_, index) => {
      const messages = [{ role: 'user', content: `${index}: tell me.` }];
      const body = { model: MODEL, messages, max_tokens: 10, ignore_eos: true };
      return JSON.stringify({ custom_id: `r${index}`, method: 'POST', url: endpoint, body });
    });
    const file = await first.files.create({ file: await toFile(Buffer.from(lines.join('\n'))), purpose: 'batch' });
    const { id } = await first.batches.create({ input_file_id: file.id, endpoint, completion_window: '24h' });
    await until('some are answered', async () => {
      return ((await first.batches.retrieve(id)).request_counts?.completed ?? 0) >= 4;
    });
    await cluster.member('gateway').kill();
    const other = await cluster.add('gateway', { store: `sqlite:${path.join(folder, 'store.db')}` });
    const second = clientOf(other.address);
    const begun = await second.batches.retrieve(id);
    // It may have gone on before it was asked.
    expect(['in_progress', 'finalizing', 'completed']).to.include(begun.status);
    expect(begun.request_counts?.completed).to.be.within(4, REQUESTS);
    await until(
      'the batch is complete',
      async () => (await second.batches.retrieve(id)).status === 'completed',
      60_000,
    );
    const done = await second.batches.retrieve(id);
    expect(done.request_counts).to.deep.equal({ total: REQUESTS, completed: REQUESTS, failed: 0 });
    const output = await (await second.files.content(done.output_file_id ?? '')).text();
    const ids = output
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { custom_id: string }).custom_id);
    expect(ids).to.deep.equal(Array.from({ length: REQUESTS }, (_, index) => `r${index}`));
  });
});
