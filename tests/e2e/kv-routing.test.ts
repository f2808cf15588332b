import { expect } from 'chai';
import { type Cluster, startCluster } from '../support/cluster.ts';
import { post } from '../support/http.ts';
import { sumOf } from '../support/metrics-text.ts';
import { findDefaultModel } from '../support/model.ts';
import { callRouter, type RouterCalls } from '../support/router-calls.ts';
import { scrape } from '../support/scrape.ts';
import { skip } from '../support/skip.ts';
import { type ChatStream, streamChat } from '../support/sse.ts';
import { until } from '../support/until.ts';
import { comparePositions } from './cases/logit-tolerance.ts';

interface Message {
  readonly role: 'system' | 'user' | 'assistant';
  readonly content: string;
}

interface Turn {
  readonly messages: readonly Message[];
  readonly stream: ChatStream;
  readonly worker: string;
  readonly prompt: number;
  readonly cached: number;
  readonly computed: number;
}

interface TurnOptions {
  /** Worker that must answer. */
  readonly pinned?: string;
  readonly tokens: number;
  readonly logprobs?: boolean;
}

describe('KV routing of conversations', function () {
  this.timeout(300_000);
  let cluster: Cluster;
  let calls: RouterCalls;

  afterEach(async () => {
    await calls?.[Symbol.asyncDispose]();
    await cluster?.stop();
  });

  it('with llama.cpp: second turns return to the worker that has the first, and compute only what is new', async function () {
    const file = await findDefaultModel();
    if (file === undefined) skip(this, 'the default model could not be fetched');
    const settings = { model: [file], modelName: ['m'], threads: 1, contextLength: 1024, kvTokens: 4096 };
    const worker = { engine: 'llamacpp', settings: { ...settings, flashAttention: 'off' } } as const;
    await start([worker, worker]);
    const options = { tokens: 8, logprobs: true };
    const first = await Promise.all(firstMessages(4, 130).map((messages) => turn(messages, options)));
    const homes = first.map(({ worker }) => worker);
    expect(new Set(homes).size, 'workers that have conversations').to.equal(2);
    const second = first.map(({ stream, messages }) => nextTurn(messages, stream, 'Say more.'));
    for (const [index, messages] of second.entries())
      await until('the router has heard of the first turn', async () => (await wouldGoTo(messages)) === homes[index]);
    const returned = await oneByOne(second, () => options);
    expect(returned.map(({ worker }) => worker)).to.deep.equal(homes);
    const others = await Promise.all(homes.map((home) => otherThan(home)));
    const elsewhere = await oneByOne(second, (index) => ({ ...options, pinned: others[index] ?? '' }));
    for (const [index, there] of elsewhere.entries()) {
      const back = returned[index];
      const begun = first[index];
      if (back === undefined || begun === undefined) throw new Error('a turn is missing');
      expect(there.worker).to.equal(others[index]);
      comparePositions(there.stream.positions, back.stream.positions);
      expect(back.cached, 'cached of the whole first turn').to.be.at.least(begun.prompt - 32);
      expect(back.computed, 'prompt tokens computed').to.be.lessThan(there.computed / 3);
    }
    report(returned, elsewhere);
  });

  it('of eight workers: a shared beginning and many turns are found again, and load is even', async () => {
    const settings = { model: 'm', stepMs: 2, prefillTokensPerSecond: 200_000, maxSequences: 64 };
    await start(Array.from({ length: 8 }, () => ({ engine: 'mocker', settings }) as const));
    const system: Message = { role: 'system', content: words('system', 800) };
    const talks = await Promise.all(Array.from({ length: 32 }, (_, talk) => converse(system, talk, 4)));
    const turns = talks.flat();
    const later = talks.flatMap((talk) => talk.slice(1));
    const stayed = talks.flatMap((talk) => talk.filter((one, index) => one.worker === talk[index - 1]?.worker));
    const byWorker = countBy(turns, ({ worker }) => worker);
    const found = sum(later, ({ cached }) => cached) / sum(later, ({ prompt }) => prompt);
    process.stdout.write(
      `      later turns: ${(100 * found).toFixed(0)} % of prompts cached, ${stayed.length} of ${later.length} at the worker before; ` +
        `requests by worker ${[...byWorker.values()].join(' ')}\n`,
    );
    expect(found, 'share of later prompts that was cached').to.be.greaterThan(0.7);
    expect(byWorker.size, 'workers in use').to.equal(8);
    expect(Math.max(...byWorker.values()), 'requests of the busiest').to.be.at.most(3 * 16);
    await expectMetrics(turns);
  });

  async function start(workers: Parameters<typeof startCluster>[0]['workers']): Promise<void> {
    cluster = await startCluster({ workers });
    calls = callRouter(cluster.member('router').address);
    await until('the router knows every worker', async () => (await calls.loads()).length === workers.length);
    await until('the gateway reaches them', async () => {
      const health = (await (await fetch(`${cluster.url}/health`)).json()) as { instances: { session: string }[] };
      return health.instances.filter(({ session }) => session === 'ready').length === workers.length;
    });
  }

  async function turn(messages: readonly Message[], o: TurnOptions): Promise<Turn> {
    const sampling = { max_tokens: o.tokens, ignore_eos: true, temperature: 0 };
    const logprobs = o.logprobs === true ? { logprobs: true, top_logprobs: 5 } : {};
    const body = { model: 'm', messages, ...sampling, ...logprobs, nvext: { extra_fields: ['worker_id'] } };
    const headers: Record<string, string> = o.pinned === undefined ? {} : { 'x-dynamo-worker-instance-id': o.pinned };
    const stream = await streamChat(cluster.url, body, headers).ended;
    const worker = (stream.nvext['worker_id'] as { decode_worker_id: string } | undefined)?.decode_worker_id ?? '';
    const { prompt_tokens: prompt = 0, prompt_tokens_details: details } = stream.usage ?? {};
    const cached = details?.cached_tokens ?? 0;
    return { messages, stream, worker, prompt, cached, computed: prompt - cached };
  }

  /** The worker to which the router would send this now. */
  async function wouldGoTo(messages: readonly Message[]): Promise<string> {
    const body = { model: 'm', messages, max_tokens: 1, nvext: { annotations: ['query_instance_id:'] } };
    const { text } = await post(`${cluster.url}/v1/chat/completions`, JSON.stringify(body));
    const { nvext } = JSON.parse(text) as { nvext: { worker_id: { decode_worker_id: string } } };
    return nvext.worker_id.decode_worker_id;
  }

  async function oneByOne(talks: readonly Message[][], options: (index: number) => TurnOptions): Promise<Turn[]> {
    const turns = [];
    for (const [index, messages] of talks.entries()) turns.push(await turn(messages, options(index)));
    return turns;
  }

  async function converse(system: Message, talk: number, count: number): Promise<Turn[]> {
    const turns: Turn[] = [];
    let messages: Message[] = [system, { role: 'user', content: words(`talk ${talk}`, 60) }];
    while (turns.length < count) {
      const answered = await turn(messages, { tokens: 24 });
      messages = nextTurn(messages, answered.stream, words(`talk ${talk} turn ${turns.length}`, 60));
      turns.push(answered);
    }
    return turns;
  }

  async function otherThan(worker: string): Promise<string> {
    const ids = (await calls.loads()).map(({ instanceId }) => String(instanceId));
    const other = ids.find((id) => id !== worker);
    if (other === undefined) throw new Error('there is no other worker');
    return other;
  }

  /** Router and gateway count what the answers say. */
  async function expectMetrics(turns: readonly Turn[]): Promise<void> {
    const router = await scrape(cluster.member('router').address);
    expect(sumOf(router, 'stator_router_kv_hit_rate_count')).to.equal(turns.length);
    expect(sumOf(router, 'stator_router_reused_tokens_total')).to.be.greaterThan(0);
    const cached = sum(turns, (turn) => turn.cached);
    const gateway = await until('the gateway has counted the last answer', async () => {
      const samples = await scrape(cluster.member('gateway').address);
      return sumOf(samples, 'stator_gateway_cached_tokens_total') >= cached && samples;
    });
    expect(sumOf(gateway, 'stator_gateway_cached_tokens_total')).to.equal(cached);
    expect(sumOf(gateway, 'stator_gateway_kv_hit_rate_count')).to.equal(turns.length);
    const rates = sum(turns, (turn) => turn.cached / turn.prompt);
    expect(sumOf(gateway, 'stator_gateway_kv_hit_rate_sum')).to.be.closeTo(rates, 1e-6);
  }
});

function report(returned: readonly Turn[], elsewhere: readonly Turn[]): void {
  const line = (what: string, turns: readonly Turn[]): string => {
    const ttft = turns.map(({ stream }) => stream.firstTextMs).toSorted((a, b) => a - b);
    const median = ttft[Math.floor(ttft.length / 2)] ?? 0;
    const computed = sum(turns, (turn) => turn.computed);
    return `      ${what}: TTFT ${median.toFixed(0)} ms (median of ${turns.length}), ${computed} prompt tokens computed\n`;
  };
  process.stdout.write(line('second turn at home', returned) + line('elsewhere', elsewhere));
}

function firstMessages(count: number, length: number): Message[][] {
  return Array.from({ length: count }, (_, index) => [{ role: 'user', content: words(`story ${index}`, length) }]);
}

function nextTurn(messages: readonly Message[], answer: ChatStream, content: string): Message[] {
  return [...messages, { role: 'assistant', content: answer.text }, { role: 'user', content }];
}

/** Text of so many words that begins with `name` and is like no other. */
function words(name: string, length: number): string {
  const vocabulary = ['river', 'stone', 'light', 'wind', 'forest', 'glass', 'music', 'winter', 'copper', 'harbour'];
  let state = [...name].reduce((sum, char) => (sum * 31 + char.charCodeAt(0)) >>> 0, 7);
  const next = (): string => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return vocabulary[state >>> 28] ?? 'road';
  };
  return `${name}: ${Array.from({ length }, next).join(' ')}`;
}

function countBy<T>(values: readonly T[], key: (value: T) => string): Map<string, number> {
  const counts = new Map<string, number>();
  for (const value of values) counts.set(key(value), (counts.get(key(value)) ?? 0) + 1);
  return counts;
}

function sum<T>(values: readonly T[], of: (value: T) => number): number {
  return values.reduce((total, value) => total + of(value), 0);
}
