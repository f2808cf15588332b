import { expect } from 'chai';
import { type Cluster, startCluster } from '../support/cluster.ts';
import { type Answer, errorOf, post } from '../support/http.ts';
import { sumOf } from '../support/metrics-text.ts';
import { callRouter, type RouterCalls } from '../support/router-calls.ts';
import { scrape } from '../support/scrape.ts';
import { type ChatStream, streamChat } from '../support/sse.ts';
import { until } from '../support/until.ts';

const MODEL = 'synthetic';

describe("the router's queue", function () {
  this.timeout(120_000);
  let cluster: Cluster;
  let calls: RouterCalls;
  const open: ChatStream[] = [];

  afterEach(async () => {
    for (const stream of open.splice(0)) stream.leave();
    await calls?.[Symbol.asyncDispose]();
    await cluster?.stop();
  });

  it('when full refuses with 529 and what it holds; whoever waits is served or leaves', async () => {
    await start({ routeTimeoutSeconds: 30 });
    const [busy, first, second] = [ask('busy'), ask('first'), ask('second')];
    await waiting(2);
    const refused = await answer('third');
    expect(refused.status, refused.text).to.equal(529);
    expect(refused.headers.get('retry-after')).to.equal('1');
    expect(errorOf(refused)).to.include({ code: 'overloaded' });
    const { details } = errorOf(refused) as unknown as { details: object };
    expect(details).to.deep.equal({ queue: 'all_requests', class: 'default', limit: 2, actual: 2 });
    second.leave();
    await waiting(1);
    busy.leave();
    await until('the first has its turn', async () => (await routerSum('stator_router_queue_seconds_count')) === 1);
    first.leave();
    await settled();
  });

  it('that moves too slowly: 429 with Retry-After, and nothing is left of the request', async () => {
    await start({ routeTimeoutSeconds: 3 });
    ask('busy');
    await until('it is placed', async () => (await calls.activeRequests()) === 1);
    const refused = await answer('late');
    expect(refused.status, refused.text).to.equal(429);
    expect(refused.headers.get('retry-after')).to.equal('1');
    expect(errorOf(refused)).to.include({ code: 'queue_timeout' });
    for (const stream of open.splice(0)) stream.leave();
    await settled();
  });

  /** One worker that computes prompts so slowly that one of them keeps it busy. */
  async function start(gateway: { routeTimeoutSeconds: number }): Promise<void> {
    const settings = { model: MODEL, maxBatchedTokens: 64, prefillTokensPerSecond: 4, stepMs: 20 };
    cluster = await startCluster({
      workers: [{ engine: 'mocker', settings }],
      router: { queueThreshold: 1, maxQueuedRequests: 2 },
      gateway,
    });
    calls = callRouter(cluster.member('router').address);
  }

  function body(what: string): object {
    const content = `${what} ${'is a prompt longer than one pass of the worker '.repeat(4)}`;
    return { model: MODEL, messages: [{ role: 'user', content }], max_tokens: 4, ignore_eos: true };
  }

  function ask(what: string): ChatStream {
    const stream = streamChat(cluster.url, body(what));
    open.push(stream);
    return stream;
  }

  function answer(what: string): Promise<Answer> {
    return post(`${cluster.url}/v1/chat/completions`, JSON.stringify(body(what)));
  }

  function waiting(count: number): Promise<boolean> {
    return until(`${count} wait`, async () => (await calls.client.getLoads({})).queuedRequests === count);
  }

  async function routerSum(name: string): Promise<number> {
    return sumOf(await scrape(cluster.member('router').address), name);
  }

  async function settled(): Promise<void> {
    await until('nothing is in flight', async () => (await calls.activeRequests()) === 0);
    await waiting(0);
    for (const name of ['reservations', 'queued_requests', 'queued_prompt_tokens', 'active_prefill_tokens'])
      expect(await routerSum(`stator_router_${name}`), name).to.equal(0);
  }
});
