import { expect } from 'chai';
import { type Cluster, type Member, startCluster } from '../support/cluster.ts';
import { sumOf } from '../support/metrics-text.ts';
import { callRouter } from '../support/router-calls.ts';
import { scrape } from '../support/scrape.ts';
import { type ChatStream, streamChat } from '../support/sse.ts';
import { until } from '../support/until.ts';

const MODEL = 'synthetic';
const worker = { engine: 'mocker', settings: { model: MODEL, stepMs: 20 } } as const;
/** Runs until it is left. */
const ENDLESS = 8000;

describe('lost routers', function () {
  this.timeout(120_000);
  let cluster: Cluster;
  const open: ChatStream[] = [];

  beforeEach(async () => {
    const common = { discoveryTtlSeconds: 2 };
    cluster = await startCluster({ workers: [worker, worker], separateProcesses: true, discovery: 'file', common });
    await connected(cluster.member('router'));
  });

  afterEach(async () => {
    for (const stream of open.splice(0)) stream.leave();
    await cluster?.stop();
  });

  it('one killed and started again under load: streams go on, its accounts come back and return to zero', async () => {
    const short = many(6, 'short', 60);
    const long = many(8, 'long', ENDLESS);
    await allStream([...short, ...long]);
    await cluster.member('router').kill();
    await until('the gateway says what it lacks', async () => (await degradations()).includes('no_router'));
    const meanwhile = many(4, 'meanwhile', ENDLESS);
    await allStream(meanwhile);
    expect(await gatewaySum('stator_gateway_router_fallbacks_total')).to.be.at.least(4);
    const router = await cluster.add('router');
    for (const stream of short) expect(await stream.ended).to.include({ finishReason: 'length' });
    await using calls = callRouter(router.address);
    const running = [...long, ...meanwhile];
    await until('every running request is announced', async () => (await calls.activeRequests()) === running.length);
    await until('nothing is lacking', async () => (await degradations()).length === 0);
    const accounts = (await calls.loads()).map(({ activeRequests }) => activeRequests);
    expect(accounts.toSorted()).to.deep.equal((await runningOnWorkers()).toSorted());
    await until('it knows that prompts are computed', async () => {
      return (await calls.loads()).every(({ activePrefillTokens }) => activePrefillTokens === 0n);
    });
    const [next] = many(1, 'next', 4);
    await next?.ended;
    expect(await routerSum(router, 'stator_router_requests_total', { outcome: 'placed' })).to.equal(1);
    for (const stream of running) stream.leave();
    await until('its accounts return to zero', async () => (await calls.activeRequests()) === 0);
    for (const name of ['active_requests', 'active_prefill_tokens', 'active_blocks', 'reservations', 'queued_requests'])
      expect(await routerSum(router, `stator_router_${name}`), name).to.equal(0);
  });

  it('one of two killed: the other takes over what it had', async () => {
    const first = cluster.member('router');
    const second = await cluster.add('router');
    await connected(second);
    const long = many(6, 'two', ENDLESS);
    await allStream(long);
    await first.kill();
    const more = many(4, 'more', ENDLESS);
    await allStream(more);
    await using calls = callRouter(second.address);
    const running = [...long, ...more];
    await until(
      'the other one accounts for everything',
      async () => (await calls.activeRequests()) === running.length,
      30_000,
    );
    for (const stream of running) stream.leave();
    await until('its accounts return to zero', async () => (await calls.activeRequests()) === 0);
    const short = many(4, 'after', 8);
    for (const stream of short) expect(await stream.ended).to.include({ finishReason: 'length' });
    await until('nothing is lacking', async () => (await degradations()).length === 0);
  });

  /** Streams of prompts that share nothing. */
  function many(count: number, what: string, tokens: number): ChatStream[] {
    const streams = Array.from({ length: count }, (_, index) => {
      const messages = [{ role: 'user', content: `${index} ${what}: tell me.` }];
      const body = { model: MODEL, messages, max_tokens: tokens, ignore_eos: true, temperature: 0 };
      return streamChat(cluster.url, body);
    });
    open.push(...streams);
    return streams;
  }

  function allStream(streams: readonly ChatStream[]): Promise<boolean> {
    return until('every stream has begun', () => streams.every(({ text }) => text !== ''));
  }

  async function degradations(): Promise<string[]> {
    const health = (await (await fetch(`${cluster.url}/health`)).json()) as { degradations: { kind: string }[] };
    return health.degradations.map(({ kind }) => kind);
  }

  function connected(router: Member): Promise<boolean> {
    return until('the gateway is connected', async () => (await routerSum(router, 'stator_router_sessions')) === 1);
  }

  async function gatewaySum(name: string): Promise<number> {
    return sumOf(await scrape(cluster.member('gateway').address), name);
  }

  async function routerSum(router: Member, name: string, labels: Record<string, string> = {}): Promise<number> {
    return sumOf(await scrape(router.address), name, labels);
  }

  function runningOnWorkers(): Promise<number[]> {
    const addresses = [0, 1].map((index) => cluster.member('mocker', index).address);
    return Promise.all(
      addresses.map(async (address) => sumOf(await scrape(address), 'stator_worker_running_sequences')),
    );
  }
});
