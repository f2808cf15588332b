import { expect } from 'chai';
import { type Cluster, startCluster } from '../support/cluster.ts';
import { post } from '../support/http.ts';
import { callRouter, type RouterCalls } from '../support/router-calls.ts';
import { streamChat } from '../support/sse.ts';
import { until } from '../support/until.ts';

interface ToldWorker {
  readonly worker_id: string;
  readonly cost?: number;
  readonly terms?: Readonly<Record<string, number>>;
  readonly device_blocks: number;
  readonly prefill_tokens: number;
  readonly excluded_because?: string;
}

interface ToldRouting {
  readonly mode: string;
  readonly worker_id: string;
  readonly prompt_tokens: number;
  readonly prompt_blocks: number;
  readonly device_blocks: number;
  readonly overlap_tokens: number;
  readonly workers: readonly ToldWorker[];
}

interface Answer {
  readonly choices: readonly unknown[];
  readonly usage: {
    readonly prompt_tokens: number;
    readonly prompt_tokens_details: { readonly cached_tokens: number };
  };
  readonly nvext: {
    readonly worker_id: { readonly prefill_worker_id: string; readonly decode_worker_id: string };
    readonly token_ids?: readonly number[];
    readonly routing?: ToldRouting;
    readonly timing?: Readonly<Record<string, number>>;
  };
}

const story = 'The harbour lay quiet under copper light. '.repeat(40);
const messages = [{ role: 'user', content: story }];
const dry = ['query_instance_id:', 'routing'];

describe('KV routing explained over HTTP', function () {
  this.timeout(60_000);
  let cluster: Cluster;
  let calls: RouterCalls;

  before(async () => {
    const worker = { engine: 'mocker', settings: { model: 'm' } } as const;
    cluster = await startCluster({ workers: [worker, worker, worker] });
    calls = callRouter(cluster.member('router').address);
    await until('the router knows every worker', async () => (await calls.loads()).length === 3);
    await until('the gateway reaches them', async () => {
      const health = (await (await fetch(`${cluster.url}/health`)).json()) as { instances: { session: string }[] };
      return health.instances.filter(({ session }) => session === 'ready').length === 3;
    });
  });

  after(async () => {
    await calls?.[Symbol.asyncDispose]();
    await cluster?.stop();
  });

  it('says where a request would go, where it then goes, and reserves nothing for having asked', async () => {
    const first = await ask({ extra_fields: ['worker_id'] });
    const home = first.nvext.worker_id.decode_worker_id;
    await until('the router has heard of the prompt', async () => {
      const { device_blocks: known, prompt_blocks: blocks } = await explained();
      return known === blocks;
    });
    const answer = await ask({ annotations: dry });
    expect(answer.choices).to.deep.equal([]);
    expect(answer.nvext.worker_id).to.include({ prefill_worker_id: home, decode_worker_id: home });
    expect(answer.nvext.token_ids).to.have.length(first.usage.prompt_tokens);
    // The router hears of the end of the first request a moment after its answer.
    await until('nothing is reserved', async () => {
      for (const load of await calls.loads())
        expect(load).to.include({ activeRequests: 0, activePrefillTokens: 0n, activeBlocks: 0n });
      return true;
    });
    const second = await ask({ extra_fields: ['worker_id'] });
    expect(second.nvext.worker_id.decode_worker_id).to.equal(home);
  });

  it('tells every worker with terms that make up its cost', async () => {
    const routing = await explained();
    expect(routing.mode).to.equal('kv');
    expect(routing.workers).to.have.length(3);
    const byCost = routing.workers.toSorted((a, b) => (a.cost ?? Infinity) - (b.cost ?? Infinity));
    expect(byCost[0]).to.include({ worker_id: routing.worker_id, device_blocks: routing.device_blocks });
    expect(routing.device_blocks).to.equal(routing.prompt_blocks);
    for (const { cost, terms = {}, device_blocks, prefill_tokens } of routing.workers) {
      const { prefill_blocks: prefill = NaN, decode_blocks: decode = NaN, prefill_load_scale: scale = NaN } = terms;
      const { active_requests: requests = NaN, decode_active_request_weight: weight = NaN, preference = NaN } = terms;
      expect(cost).to.be.closeTo((scale * prefill + decode + weight * requests) * preference, 1e-9);
      const { block_size: blockSize = NaN } = terms;
      expect(prefill_tokens).to.equal(Math.max(0, routing.prompt_tokens - device_blocks * blockSize));
    }
  });

  it('serves the two steps of a scheduler in front of it: ask, then send the tokens to the worker named', async () => {
    const { nvext } = await ask({ annotations: ['query_instance_id:'] });
    const pinned = { token_data: nvext.token_ids, backend_instance_id: nvext.worker_id.decode_worker_id };
    const answer = await ask({ ...pinned, extra_fields: ['worker_id', 'timing'] });
    expect(answer.nvext.worker_id).to.deep.equal(nvext.worker_id);
    const { prompt_tokens: prompt, prompt_tokens_details: details } = answer.usage;
    expect(details.cached_tokens).to.be.greaterThan(prompt / 2);
    expect(answer.nvext.timing?.['kv_hit_rate']).to.be.closeTo(details.cached_tokens / prompt, 1e-9);
  });

  it('explains a stream before its first token', async () => {
    const nvext = { annotations: ['routing'], extra_fields: ['worker_id'] };
    const stream = await streamChat(cluster.url, { model: 'm', messages, max_tokens: 4, nvext }).ended;
    expect(stream.events.map(({ name, textBefore }) => [name, textBefore])).to.deep.equal([['routing', 0]]);
    const told = stream.events[0]?.data as ToldRouting;
    expect(stream.nvext['worker_id']).to.include({ decode_worker_id: told.worker_id });
    expect(told.workers.filter(({ terms }) => terms !== undefined)).to.have.length(3);
    expect(stream.usage?.prompt_tokens_details.cached_tokens).to.be.at.least(told.overlap_tokens - 1);
  });

  it('names what keeps a worker from serving', async () => {
    const { workers, worker_id: chosen } = await explained();
    const other = workers.find(({ worker_id }) => worker_id !== chosen)?.worker_id ?? '';
    const pinned = await explained({ backend_instance_id: other });
    expect(pinned.worker_id).to.equal(other);
    const excluded = pinned.workers.filter(({ excluded_because }) => excluded_because !== undefined);
    expect(excluded.map(({ worker_id }) => worker_id))
      .to.include(chosen)
      .and.have.length(2);
    const body = { model: 'm', messages, nvext: { annotations: dry, routing_constraints: { required_taints: ['x'] } } };
    const refused = await post(`${cluster.url}/v1/chat/completions`, JSON.stringify(body));
    expect(refused.status).to.equal(503);
    expect(refused.text).to.include('excluded_because');
  });

  async function ask(nvext: object): Promise<Answer> {
    const body = { model: 'm', messages, max_tokens: 4, nvext };
    const answer = await post(`${cluster.url}/v1/chat/completions`, JSON.stringify(body));
    expect(answer.status, answer.text).to.equal(200);
    return JSON.parse(answer.text) as Answer;
  }

  async function explained(nvext: object = {}): Promise<ToldRouting> {
    const { nvext: told } = await ask({ ...nvext, annotations: dry });
    if (told.routing === undefined) throw new Error('the answer has no explanation');
    return told.routing;
  }
});
