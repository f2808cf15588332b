import { expect } from 'chai';
import { type Cluster, type Member, type Role, startCluster } from '../support/cluster.ts';
import { type Answer, errorOf, post } from '../support/http.ts';
import { sumOf } from '../support/metrics-text.ts';
import { scrape } from '../support/scrape.ts';
import { type ChatStream, streamChat } from '../support/sse.ts';
import { until } from '../support/until.ts';

const MODEL = 'synthetic';
const worker = { engine: 'mocker', settings: { model: MODEL, stepMs: 20 } } as const;
/** Long enough to be interrupted, also where this process gets its turn late. */
const TOKENS = 200;

describe('lost services', function () {
  this.timeout(120_000);
  let cluster: Cluster;
  /** Those that are alive: each test replaces what it takes away. */
  let workers: Member[];

  before(async () => {
    const common = { discoveryTtlSeconds: 2 };
    cluster = await startCluster({ workers: [worker, worker], separateProcesses: true, discovery: 'file', common });
    workers = cluster.members.filter(({ role }) => role === 'mocker');
  });

  beforeEach(() =>
    until('both workers can be reached', async () => {
      const { instances, status } = await health();
      const ready = instances.filter(({ session }) => session === 'ready').map(({ address }) => address);
      return status === 'healthy' && workers.every(({ address }) => ready.includes(address));
    }),
  );

  after(() => cluster?.stop());

  it('a worker killed amid streams: they continue elsewhere, byte for byte', async () => {
    const prompts = Array.from({ length: 8 }, (_, index) => `${index}: tell me.`);
    const undisturbed = await Promise.all(prompts.map((prompt) => stream(prompt, TOKENS).ended));
    const streams = prompts.map((prompt) => stream(prompt, TOKENS));
    await until('every stream has begun', () => streams.every(({ text }) => text !== ''));
    const [lost] = workers;
    expect(await running(lost), 'streams on the worker that is killed').to.be.greaterThan(0);
    await lost?.kill();
    for (const [index, { ended }] of streams.entries()) {
      const { text, finishReason, usage } = await ended;
      expect(text).to.equal(undisturbed[index]?.text);
      expect(finishReason).to.equal('length');
      const promptTokens = undisturbed[index]?.usage?.prompt_tokens;
      expect(usage).to.include({ completion_tokens: TOKENS, prompt_tokens: promptTokens });
    }
    expect(await sum('gateway', 'stator_gateway_migrations_total')).to.be.greaterThan(0);
    for (const [role, name] of [
      ['gateway', 'stator_gateway_inflight_requests'],
      ['router', 'stator_router_active_requests'],
    ] as const)
      await until(`${name} is 0`, async () => (await sum(role, name)) === 0);
    workers[0] = await cluster.addWorker(worker);
  });

  it('every worker lost: a typed 503 or 404, and answers again once one is back', async () => {
    for (const member of workers.splice(0)) await member.kill();
    await until('the gateway refuses', async () => {
      const { status } = await ask('Are you there?');
      return status === 503 || status === 404;
    });
    workers.push(await cluster.addWorker(worker));
    await until('the gateway answers again', async () => (await ask('And now?')).status === 200, 30_000);
    workers.push(await cluster.addWorker(worker));
  });

  it('the tokenizer killed: streams go on, new requests are told precisely, one that comes back is used', async () => {
    const streams = Array.from({ length: 4 }, (_, index) => stream(`${index}: go on.`, TOKENS));
    await until('every stream has begun', () => streams.every(({ text }) => text !== ''));
    await cluster.member('tokenizer').kill();
    const refused = await ask('Anybody?');
    expect(refused.status, refused.text).to.equal(503);
    expect(Number(refused.headers.get('retry-after'))).to.be.greaterThan(0);
    expect(errorOf(refused).code).to.equal('not_ready');
    expect(errorOf(refused).message).to.match(/tokenizer/);
    await until('/health names it', async () => (await degradations()).includes('no_tokenizer'));
    for (const { ended } of streams) {
      const { finishReason, usage } = await ended;
      expect([finishReason, usage?.completion_tokens]).to.deep.equal(['length', TOKENS]);
    }
    await cluster.add('tokenizer');
    await until('the gateway answers again', async () => (await ask('And now?')).status === 200, 30_000);
    await until('nothing is lacking', async () => (await degradations()).length === 0);
  });

  it('a worker that drains finishes what it has', async () => {
    const asked = Array.from({ length: 4 }, (_, index) => ask(`${index}: finish.`));
    await until('the worker computes', async () => (await running(workers[0])) > 0);
    await workers.shift()?.stop();
    for (const answer of await Promise.all(asked)) expect(answer.status, answer.text).to.equal(200);
  });

  function bodyOf(content: string, tokens: number): object {
    const messages = [{ role: 'user', content }];
    return { model: MODEL, messages, max_tokens: tokens, ignore_eos: true, temperature: 0 };
  }

  function ask(content: string): Promise<Answer> {
    return post(`${cluster.url}/v1/chat/completions`, JSON.stringify(bodyOf(content, TOKENS)));
  }

  function stream(content: string, tokens: number): ChatStream {
    return streamChat(cluster.url, bodyOf(content, tokens));
  }

  async function health(): Promise<Health> {
    return (await (await fetch(`${cluster.url}/health`)).json()) as Health;
  }

  async function degradations(): Promise<string[]> {
    return (await health()).degradations.map(({ kind }) => kind);
  }

  async function sum(role: Role, name: string): Promise<number> {
    return sumOf(await scrape(cluster.member(role).address), name);
  }

  async function running(member: Member | undefined): Promise<number> {
    return sumOf(await scrape(member?.address ?? ''), 'stator_worker_running_sequences');
  }
});

interface Health {
  readonly status: string;
  readonly degradations: readonly { readonly kind: string }[];
  readonly instances: readonly { readonly address: string; readonly session: string }[];
}
