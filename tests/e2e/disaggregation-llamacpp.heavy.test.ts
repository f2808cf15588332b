import { expect } from 'chai';
import { type Cluster, startCluster, type WorkerSpec } from '../support/cluster.ts';
import { comesToRest, scrapeAll } from '../support/handed-over.ts';
import { sumOf } from '../support/metrics-text.ts';
import { findDefaultModel } from '../support/model.ts';
import { skip } from '../support/skip.ts';
import { type ChatStream, streamChat } from '../support/sse.ts';

const prompts = [
  'Write a short poem about the sea.',
  `Summarize: ${'The river runs from the hills to the town, past mills and meadows. '.repeat(12)}`,
  `Continue the list: ${Array.from({ length: 60 }, (_, index) => `item ${index}`).join(', ')}`,
  'Hi',
];

/** Greedy, then by a seed with penalties, then constrained: each continues in another process what one has begun. */
const ways: readonly { readonly name: string; readonly body: object }[] = [
  { name: 'greedy', body: { temperature: 0 } },
  { name: 'seeded', body: { temperature: 0.8, seed: 7, frequency_penalty: 0.4, presence_penalty: 0.2 } },
  { name: 'constrained', body: { temperature: 0, response_format: { type: 'json_object' } } },
];

describe('prefill and decode apart with llama.cpp', function () {
  this.timeout(300_000);
  const clusters: Cluster[] = [];

  afterEach(async () => {
    for (const cluster of clusters.splice(0)) await cluster.stop();
  });

  it('gives the tokens of one process, between two', async function () {
    const file = await findDefaultModel();
    if (file === undefined) skip(this, 'the default model could not be fetched');
    const settings = { model: [file], modelName: ['m'], threads: 1, contextLength: 1024, kvTokens: 4096 };
    const worker = (role: string): WorkerSpec => ({
      engine: 'llamacpp',
      settings: { ...settings, flashAttention: 'off', role },
    });
    const whole = await start(worker('aggregated'));
    const expected = await answers(whole);
    await whole.stop();
    const apart = await start(worker('prefill'), worker('decode'));
    const found = await answers(apart);
    for (const [what, stream] of found) {
      expect(stream.text, what).to.equal(expected.get(what)?.text);
      expect(stream.usage?.completion_tokens, what).to.equal(expected.get(what)?.usage?.completion_tokens);
    }
    const samples = await scrapeAll(apart);
    const pulled = sumOf(samples, 'stator_worker_handoff_pulls_total', { outcome: 'ok' });
    expect(pulled, 'prompts whose KV was fetched').to.be.at.least(prompts.length - 1);
    for (const outcome of ['failed', 'damaged', 'mismatch', 'expired', 'no_room'])
      expect(sumOf(samples, 'stator_worker_handoff_pulls_total', { outcome }), outcome).to.equal(0);
    await comesToRest(apart);
  });

  async function start(...workers: WorkerSpec[]): Promise<Cluster> {
    const cluster = await startCluster({ workers, separateProcesses: true });
    clusters.push(cluster);
    return cluster;
  }

  /** One after the other: with an empty machine a batch has one sequence, whose logits do not depend on others. */
  async function answers(cluster: Cluster): Promise<Map<string, ChatStream>> {
    const found = new Map<string, ChatStream>();
    for (const [index, content] of prompts.entries())
      for (const { name, body } of ways) {
        const request = { model: 'm', messages: [{ role: 'user', content }], max_tokens: 40, ...body };
        found.set(`${name} ${index}`, await streamChat(cluster.url, request).ended);
      }
    return found;
  }
});
