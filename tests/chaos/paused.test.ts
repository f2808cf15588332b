import { setTimeout as sleep } from 'node:timers/promises';
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
const TTL_SECONDS = 2;

/** For a process that is stopped and continued, as for a machine that is moved, every clock jumps. */
describe('processes that stand still', function () {
  this.timeout(120_000);
  let cluster: Cluster;
  const open: ChatStream[] = [];

  beforeEach(async () => {
    const common = { discoveryTtlSeconds: TTL_SECONDS };
    cluster = await startCluster({ workers: [worker, worker], separateProcesses: true, discovery: 'file', common });
    const { address } = cluster.member('router');
    await until('the gateway is connected', async () => (await sum(address, 'stator_router_sessions')) === 1);
  });

  afterEach(async () => {
    for (const stream of open.splice(0)) stream.leave();
    for (const member of cluster?.members ?? []) signal(member, 'SIGCONT');
    await cluster?.stop();
  });

  it('a router for longer than its lease: streams go on, requests find workers, its accounts are right again', async () => {
    const router = cluster.member('router');
    const running = many(6, 'before');
    await allStream(running);
    signal(router, 'SIGSTOP');
    await until('the gateway says what it lacks', async () => (await degradations()).includes('no_router'));
    await sleep(2 * TTL_SECONDS * 1000);
    const meanwhile = many(4, 'meanwhile');
    await allStream(meanwhile);
    const before = running.map(({ text }) => text.length);
    signal(router, 'SIGCONT');
    await using calls = callRouter(router.address);
    const all = [...running, ...meanwhile];
    await until('it accounts for every request', async () => (await calls.activeRequests()) === all.length, 30_000);
    await until('nothing is lacking', async () => (await degradations()).length === 0);
    await until('streams went on', () => running.every(({ text }, at) => text.length > (before[at] ?? 0)));
    for (const stream of all) stream.leave();
    await until('its accounts return to zero', async () => (await calls.activeRequests()) === 0);
    for (const name of ['active_requests', 'active_prefill_tokens', 'active_blocks', 'reservations', 'queued_requests'])
      expect(await sum(router.address, `stator_router_${name}`), name).to.equal(0);
  });

  it('a worker for longer than its lease: new requests go elsewhere, and come back to it when it goes on', async () => {
    const paused = cluster.member('mocker', 0);
    const router = cluster.member('router');
    await using calls = callRouter(router.address);
    signal(paused, 'SIGSTOP');
    await until('the router does without it', async () => (await calls.loads()).length === 1, 30_000);
    const meanwhile = many(4, 'meanwhile');
    await allStream(meanwhile);
    signal(paused, 'SIGCONT');
    await until('the router has it again', async () => (await calls.loads()).length === 2, 30_000);
    await until('new requests reach it', async () => {
      await allStream(many(2, 'after'));
      return (await sum(paused.address, 'stator_worker_running_sequences')) > 0;
    });
    for (const stream of open) stream.leave();
    await until('its accounts return to zero', async () => (await calls.activeRequests()) === 0);
  });

  async function degradations(): Promise<string[]> {
    const health = (await (await fetch(`${cluster.url}/health`)).json()) as { degradations: { kind: string }[] };
    return health.degradations.map(({ kind }) => kind);
  }

  /** Streams of prompts that share nothing. */
  function many(count: number, what: string): ChatStream[] {
    const streams = Array.from({ length: count }, (_, index) => {
      const messages = [{ role: 'user', content: `${index} ${what} ${open.length}: tell me.` }];
      const body = { model: MODEL, messages, max_tokens: ENDLESS, ignore_eos: true, temperature: 0 };
      return streamChat(cluster.url, body);
    });
    open.push(...streams);
    return streams;
  }
});

function allStream(streams: readonly ChatStream[]): Promise<boolean> {
  return until('every stream has begun', () => streams.every(({ text }) => text !== ''), 30_000);
}

function signal({ pid }: Member, name: 'SIGSTOP' | 'SIGCONT'): void {
  if (pid === undefined) throw new Error('not a process');
  try {
    process.kill(pid, name);
  } catch (thrown) {
    // It has ended.
    if (!(thrown instanceof Error && 'code' in thrown && thrown.code === 'ESRCH')) throw thrown;
  }
}

async function sum(address: string, name: string): Promise<number> {
  return sumOf(await scrape(address), name);
}
