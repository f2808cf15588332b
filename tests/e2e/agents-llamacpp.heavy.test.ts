import { expect } from 'chai';
import { type Cluster, startCluster } from '../support/cluster.ts';
import { post } from '../support/http.ts';
import { findDefaultModel } from '../support/model.ts';
import { scrape } from '../support/scrape.ts';
import { skip } from '../support/skip.ts';
import { until } from '../support/until.ts';

const blockSize = 16;

interface Answer {
  readonly choices: readonly { readonly message: { readonly role: string; readonly content: string } }[];
  readonly usage: {
    readonly prompt_tokens: number;
    readonly prompt_tokens_details?: { readonly cached_tokens: number };
  };
}

describe('agents with llama.cpp', function () {
  this.timeout(300_000);
  let cluster: Cluster;

  before(async function () {
    const file = await findDefaultModel();
    if (file === undefined) skip(this, 'the default model could not be fetched');
    const settings = {
      model: [file],
      modelName: ['m'],
      threads: 1,
      contextLength: 512,
      kvTokens: 1024,
      kvBlockSize: blockSize,
    };
    cluster = await startCluster({ workers: [{ engine: 'llamacpp', settings }] });
  });

  after(() => cluster?.stop());

  it('find the next turn computed, as the template of the model writes it', async () => {
    const question = { role: 'user', content: 'Name three harbours of Flanders, and what each is known for.' };
    const { choices } = await chat({
      messages: [question],
      max_tokens: 48,
      nvext: { agent_hints: { speculative_prefill: true } },
    });
    await until('it is computed', async () =>
      (await (await fetch(`${cluster.url}/metrics`)).text()).includes('prefills_total{outcome="done"} 1'),
    );
    const { usage } = await chat({ messages: [question, choices[0]?.message, { role: 'user', content: 'Why?' }] });
    // The new words, what the template puts around them, and less than a block before.
    expect(computed(usage)).to.be.at.most(2 * blockSize);
    expect(usage.prompt_tokens).to.be.greaterThan(64);
  });

  it('keep a prompt while others push out what nobody keeps', async () => {
    const about = (what: string) => [
      { role: 'user', content: `${what}: ${'the river runs to the town. '.repeat(16)}` },
    ];
    await chat({ messages: about('kept'), nvext: { cache_control: { type: 'ephemeral', ttl: '5m' } } });
    await chat({ messages: about('lost') });
    for (let other = 0; other < 10; other++) await chat({ messages: about(`other ${other}`) });
    const [kept, lost] = [await chat({ messages: about('kept') }), await chat({ messages: about('lost') })];
    expect(computed(kept.usage)).to.be.at.most(blockSize);
    // What the template begins every conversation with may be cached.
    expect(computed(lost.usage)).to.be.at.least(lost.usage.prompt_tokens - 3 * blockSize);
    const samples = await scrape(cluster.member('llamacpp').address);
    expect(samples.find(({ name }) => name === 'stator_worker_kept_prompts')?.value).to.equal(1);
  });

  function computed({ prompt_tokens: tokens, prompt_tokens_details: details }: Answer['usage']): number {
    return tokens - (details?.cached_tokens ?? 0);
  }

  async function chat(change: object): Promise<Answer> {
    const body = { model: 'm', max_tokens: 1, temperature: 0, ...change };
    const answer = await post(`${cluster.url}/v1/chat/completions`, JSON.stringify(body));
    expect(answer.status, answer.text).to.equal(200);
    return JSON.parse(answer.text) as Answer;
  }
});
