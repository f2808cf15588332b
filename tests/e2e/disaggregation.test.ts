import { expect } from 'chai';
import { type Cluster, startCluster, type WorkerSpec } from '../support/cluster.ts';
import { comesToRest, scrapeAll } from '../support/handed-over.ts';
import { sumOf } from '../support/metrics-text.ts';
import { findNixl, NO_NIXL } from '../support/nixl.ts';
import { scrape } from '../support/scrape.ts';
import { skip } from '../support/skip.ts';
import { type ChatStream, streamChat } from '../support/sse.ts';
import { until } from '../support/until.ts';

const model = 'm';
const engine = { model, kvBlockBytes: 4096, stepMs: 1, kvBlocks: 4096 };
const aggregated = { engine: 'mocker', settings: engine } as const;
const prefill = { engine: 'mocker', settings: { ...engine, role: 'prefill' } } as const;
const decode = { engine: 'mocker', settings: { ...engine, role: 'decode' } } as const;

/** The same requests each time: seeds decide the output. */
function bodyOf(index: number): object {
  const content = `${index % 7}: ${'something to say about it. '.repeat(1 + ((index * 13) % 60))}`;
  return {
    model,
    messages: [{ role: 'user', content }],
    max_tokens: 1 + ((index * 31) % 50),
    temperature: index % 2,
    seed: index,
    ignore_eos: index % 5 !== 0,
    nvext: { extra_fields: ['worker_id', 'timing'] },
  };
}

async function answers(cluster: Cluster, count: number): Promise<ChatStream[]> {
  return Promise.all(Array.from({ length: count }, (_, index) => streamChat(cluster.url, bodyOf(index)).ended));
}

describe('prefill and decode apart', function () {
  this.timeout(300_000);
  let clusters: Cluster[] = [];

  afterEach(async () => {
    for (const cluster of clusters.splice(0)) await cluster.stop();
    clusters = [];
  });

  async function start(...workers: Parameters<typeof startCluster>[0]['workers'][number][]): Promise<Cluster> {
    const cluster = await startCluster({ workers });
    clusters.push(cluster);
    return cluster;
  }

  it('gives the same bytes as together, however many run at once, and keeps nothing', async () => {
    const whole = await answers(await start(aggregated), 96);
    const apart = await start(prefill, prefill, decode, decode);
    const found = await answers(apart, 96);
    for (const [index, { text, finishReason, usage }] of found.entries()) {
      expect(text, `request ${index}`).to.equal(whole[index]?.text);
      expect(finishReason).to.equal(whole[index]?.finishReason);
      expect(usage?.completion_tokens).to.equal(whole[index]?.usage?.completion_tokens);
    }
    const samples = await scrapeAll(apart);
    expect(sumOf(samples, 'stator_worker_handoff_pulls_total', { outcome: 'ok' })).to.be.at.least(7);
    for (const outcome of ['failed', 'damaged', 'mismatch', 'expired', 'no_room'])
      expect(sumOf(samples, 'stator_worker_handoff_pulls_total', { outcome }), outcome).to.equal(0);
    await comesToRest(apart);
    const ids = found.map(({ nvext }) => nvext['worker_id'] as Record<string, string>);
    const handed = ids.filter((id) => id['prefill_worker_id'] !== id['decode_worker_id']);
    expect(handed.length).to.be.greaterThan(80);
    const timing = found.find(({ usage }) => (usage?.completion_tokens ?? 0) > 1)?.nvext['timing'];
    expect(timing).to.include.keys('ttft_ms', 'handoff_time_ms', 'prefill_time_ms');
  });

  for (const backend of ['shm', 'tcp', 'nixl'])
    it(`hands over between processes by ${backend}`, async function () {
      if (backend === 'nixl' && findNixl() === undefined) skip(this, NO_NIXL);
      const way = (spec: typeof prefill | typeof decode): WorkerSpec => ({
        engine: 'mocker',
        settings: { ...spec.settings, handoffBackends: backend },
      });
      const cluster = await startCluster({ workers: [way(prefill), way(decode)], separateProcesses: true });
      clusters.push(cluster);
      const found = await answers(cluster, 12);
      const whole = await answers(await start(aggregated), 12);
      expect(found.map(({ text }) => text)).to.deep.equal(whole.map(({ text }) => text));
      const samples = await scrapeAll(cluster);
      expect(sumOf(samples, 'stator_worker_handoff_pulls_total', { backend, outcome: 'ok' })).to.be.at.least(5);
      expect(sumOf(samples, 'stator_worker_handoff_pulls_total', { outcome: 'failed' })).to.equal(0);
      await comesToRest(cluster);
    });

  it('is ready once both kinds are there', async () => {
    const cluster = await startCluster({ workers: [] });
    clusters.push(cluster);
    const status = async (): Promise<number> =>
      (
        await fetch(`${cluster.url}/v1/chat/completions`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify(bodyOf(1)),
        })
      ).status;
    await cluster.addWorker(prefill);
    await until('the prefill worker is known', async () => (await status()) === 503);
    await cluster.addWorker(decode);
    await cluster.listsModels(1);
    expect(await status()).to.equal(200);
  });

  it('is served by decode workers alone where that is set, and apart as soon as it can be', async () => {
    const alone = { engine: 'mocker', settings: { ...decode.settings, decodeAlone: true } } as const;
    const cluster = await start(alone);
    const computed = async (): Promise<boolean> => {
      const { nvext } = await streamChat(cluster.url, { ...bodyOf(1), max_tokens: 5 }).ended;
      const ids = nvext['worker_id'] as Record<string, string>;
      return ids['prefill_worker_id'] === ids['decode_worker_id'];
    };
    expect(await computed(), 'by the decode worker itself').to.equal(true);
    const added = await cluster.addWorker(prefill);
    await until('a prefill worker computes prompts', async () => !(await computed()));
    await added.stop();
    await until('the decode worker does again', computed);
  });

  it('keeps follow-up turns on the decode worker that has the conversation, where that is set', async () => {
    const cluster = await startCluster({ workers: [prefill, decode, decode], router: { conditionalDisagg: true } });
    clusters.push(cluster);
    const whole = await start(aggregated);
    for (let talk = 0; talk < 4; talk++) {
      const messages = [{ role: 'user', content: `${talk}: ${'let us talk about it at length. '.repeat(20)}` }];
      const homes: (string | undefined)[] = [];
      for (let turn = 0; turn < 3; turn++) {
        const asked = { ...bodyOf(talk), messages, max_tokens: 30, ignore_eos: true };
        const [{ text, nvext }, other] = await Promise.all([
          streamChat(cluster.url, asked).ended,
          streamChat(whole.url, asked).ended,
        ]);
        expect(text, `talk ${talk}, turn ${turn}`).to.equal(other.text);
        const ids = nvext['worker_id'] as Record<string, string>;
        const { prefill_worker_id: computed, decode_worker_id: decoded } = ids;
        expect(computed === decoded, `talk ${talk}, turn ${turn} is computed by the decode worker`).to.equal(turn > 0);
        homes.push(decoded);
        messages.push({ role: 'assistant', content: text }, { role: 'user', content: 'And then?' });
        const next = { ...asked, messages: [...messages], nvext: { annotations: ['query_instance_id:'] } };
        await until('the router has heard of its blocks', async () => {
          const response = await fetch(`${cluster.url}/v1/chat/completions`, {
            method: 'POST',
            headers: { 'content-type': 'application/json' },
            body: JSON.stringify(next),
          });
          const dry = (await response.json()) as { nvext: { worker_id: Record<string, string> } };
          return dry.nvext.worker_id['prefill_worker_id'] === decoded;
        });
      }
      expect(new Set(homes).size, 'homes of a conversation').to.equal(1);
    }
    const samples = await scrapeAll(cluster);
    const counted = (decision: string): number => sumOf(samples, 'stator_router_disaggregation_total', { decision });
    expect([counted('remote'), counted('local')]).to.deep.equal([4, 8]);
    await comesToRest(cluster);
  });

  it('keeps KV within the zone of its prefill worker, and computes prompts again rather than fetch from elsewhere', async () => {
    const cluster = await startCluster({ workers: [] });
    clusters.push(cluster);
    const at = (spec: typeof prefill | typeof decode, zone: string): WorkerSpec => ({
      engine: 'mocker',
      settings: { ...spec.settings, topology: `zone=${zone}`, kvReachDomain: 'zone' },
    });
    await cluster.addWorker(at(prefill, 'a'));
    const far = await cluster.addWorker(at(decode, 'b'));
    await cluster.listsModels(1);
    const alone = await answers(cluster, 6);
    const pulled = async (address: string): Promise<number> =>
      sumOf(await scrape(address), 'stator_worker_handoff_pulls_total', { outcome: 'ok' });
    expect(await pulled(far.address)).to.equal(0);
    const near = await cluster.addWorker(at(decode, 'a'));
    const asked = Array.from({ length: 6 }, (_, index) =>
      until('the worker of the zone decodes', async () => {
        const { text } = await streamChat(cluster.url, bodyOf(index)).ended;
        expect(text).to.equal(alone[index]?.text);
        return (await pulled(near.address)) > 0;
      }),
    );
    await Promise.all(asked);
    expect(await pulled(far.address)).to.equal(0);
    await comesToRest(cluster);
  });

  it('leaves nothing behind when clients leave at any moment', async () => {
    const cluster = await start(prefill, decode, decode);
    const streams = Array.from({ length: 200 }, (_, index) => {
      const stream = streamChat(cluster.url, { ...bodyOf(index), max_tokens: 40, ignore_eos: true });
      // From before the first placement to the middle of decoding.
      if (index % 4 !== 0) setTimeout(() => stream.leave(), (index * 37) % 400);
      return stream;
    });
    const outcomes = await Promise.allSettled(streams.map(({ ended }) => ended));
    const stayed = outcomes.filter((_, index) => index % 4 === 0);
    expect(stayed.every(({ status }) => status === 'fulfilled')).to.equal(true);
    await comesToRest(cluster);
  });
});
