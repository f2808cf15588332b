import { expect } from 'chai';
import { type Cluster, startCluster } from '../support/cluster.ts';
import { post } from '../support/http.ts';
import { scrape } from '../support/scrape.ts';
import { until } from '../support/until.ts';

const blockSize = 16;

describe('prompts that agents keep', function () {
  this.timeout(60_000);
  let cluster: Cluster;

  before(async () => {
    // A cache of 64 blocks, of which prompts may be kept in half.
    const settings = { model: 'm', blockSize, kvBlocks: 64, stepMs: 0, keptPromptShare: 0.5 };
    cluster = await startCluster({ workers: [{ engine: 'mocker', settings }] });
  });

  after(() => cluster?.stop());

  it('survive what evicts others until their time is over', async () => {
    const [kept, brief, other] = [promptOf('kept'), promptOf('brief'), promptOf('other')];
    const full = kept.length - blockSize;
    await complete(kept, { nvext: { cache_control: { type: 'ephemeral', ttl: 600 } } });
    await complete(brief, { nvext: { cache_control: { type: 'ephemeral', ttl: 1 } } });
    await complete(other);
    expect(await complete(other)).to.be.at.least(full);
    await until(
      'its time is over',
      async () => (await metric('stator_worker_kept_prompts_ended_total', 'expired')) === 1,
    );
    await pressure();
    expect(await complete(other), 'the prompt that nobody keeps').to.equal(0);
    expect(await complete(brief), 'the prompt that was kept').to.equal(0);
    expect(await complete(kept), 'the prompt that is kept').to.be.at.least(full);
    expect(await metric('stator_worker_kept_blocks')).to.equal(kept.length / blockSize);
  });

  it('are let go with the last request of their session', async () => {
    const prompt = promptOf('session');
    const session = { session_id: 'conversation' };
    await complete(prompt, { nvext: { session_control: { ...session, action: 'open', timeout: 600 } } });
    const before = await metric('stator_worker_kept_prompts');
    await complete(`${prompt} and on`, { nvext: { session_control: { ...session, action: 'close' } } });
    await until('it is let go', async () => (await metric('stator_worker_kept_prompts')) === before - 1);
    expect(await metric('stator_worker_kept_prompts_ended_total', 'released')).to.equal(1);
  });

  it('never take the room of requests that run', async () => {
    await complete(promptOf('held'), { nvext: { cache_control: { type: 'ephemeral', ttl: 600 } } });
    // More than the other half of the cache.
    expect(await complete('z'.repeat(60 * blockSize))).to.equal(0);
  });

  function promptOf(name: string): string {
    return `${name} `.repeat(200).slice(0, 12 * blockSize);
  }

  /** Computes more different prompts than the cache has room for. */
  async function pressure(): Promise<void> {
    for (let round = 0; round < 6; round++) await complete(promptOf(`pressure ${round} ${Math.random()}`));
  }

  /** Tokens of the prompt that were cached. */
  async function complete(prompt: string, more: object = {}): Promise<number> {
    const answer = await post(
      `${cluster.url}/v1/completions`,
      JSON.stringify({ model: 'm', prompt, max_tokens: 1, ...more }),
    );
    expect(answer.status, answer.text).to.equal(200);
    const { usage } = JSON.parse(answer.text) as { usage: { prompt_tokens_details?: { cached_tokens: number } } };
    return usage.prompt_tokens_details?.cached_tokens ?? 0;
  }

  async function metric(name: string, how?: string): Promise<number> {
    const samples = await scrape(cluster.member('mocker').address);
    return samples.find((one) => one.name === name && (how === undefined || one.labels['how'] === how))?.value ?? 0;
  }
});
