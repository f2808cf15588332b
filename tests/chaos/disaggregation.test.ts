import { expect } from 'chai';
import { type Cluster, type Member, startCluster, type WorkerSpec } from '../support/cluster.ts';
import { comesToRest, scrapeAll } from '../support/handed-over.ts';
import { sumOf } from '../support/metrics-text.ts';
import { scrape } from '../support/scrape.ts';
import { type ChatStream, streamChat } from '../support/sse.ts';
import { until } from '../support/until.ts';

const model = 'm';
/** By sockets, which need the other side's help. Half a MiB for a block: fetching a prompt takes long enough to be interrupted. */
const engine = {
  model,
  kvBlockBytes: 512 * 1024,
  kvBlocks: 2048,
  stepMs: 5,
  handoffMemoryMib: 512,
  handoffBackends: 'tcp',
};
const prefill: WorkerSpec = { engine: 'mocker', settings: { ...engine, role: 'prefill', handoffTtlSeconds: 10 } };
const decode: WorkerSpec = { engine: 'mocker', settings: { ...engine, role: 'decode' } };
const promptText = 'a long prompt that fills many blocks with what was said before. '.repeat(14);

describe('prefill and decode apart, with losses', function () {
  this.timeout(180_000);
  let cluster: Cluster;
  let expected: ReadonlyMap<number, string>;

  before(async () => {
    const workers = [prefill, prefill, decode, decode];
    const common = { discoveryTtlSeconds: 2 };
    cluster = await startCluster({ workers, separateProcesses: true, discovery: 'file', common });
    const texts = await Promise.all([...Array(8).keys()].map(async (index) => (await ask(index).ended).text));
    expected = new Map(texts.entries());
    const pulled = sumOf(await scrapeAll(cluster), 'stator_worker_handoff_pulls_total', { outcome: 'ok' });
    expect(pulled, 'prompts whose KV was fetched').to.be.greaterThan(0);
  });

  after(() => cluster?.stop());

  it('a decode worker killed while it fetches: another one does, and the client notices nothing', async () => {
    const migrations = async () =>
      sumOf(await scrape(cluster.member('gateway').address), 'stator_gateway_migrations_total');
    // It may have ended everything that it had before it is killed: until it was caught before.
    while ((await migrations()) === 0) {
      const streams = begin();
      const lost = await someoneWith('stator_worker_handoff_pulling_bytes', 'decode', streams);
      await lost.kill();
      await allAreRight(streams);
      await replace(lost, decode);
    }
  });

  it('a prefill worker killed after its handoff: the prompt is computed again', async () => {
    const streams = begin();
    const lost = await someoneWith('stator_worker_handoff_staged_bytes', 'prefill', streams);
    await lost.kill();
    await allAreRight(streams);
    await replace(lost, prefill);
  });

  it('workers of both kinds killed in the middle of everything', async () => {
    const streams = [...begin(), ...begin()];
    const [one, two] = await Promise.all([
      someoneWith('stator_worker_running_sequences', 'prefill', streams),
      someoneWith('stator_worker_running_sequences', 'decode', streams),
    ]);
    await Promise.all([one.kill(), two.kill()]);
    await allAreRight(streams);
    await replace(one, prefill);
    await replace(two, decode);
  });

  it('every prefill worker lost: running requests end as they would have, on decode workers', async () => {
    const streams = begin();
    await until('prompts are being computed', () => streams.some(({ text }) => text !== ''));
    const lost = membersOf('prefill');
    for (const member of lost) await member.kill();
    await allAreRight(streams);
    for (const member of lost) await replace(member, prefill);
    await cluster.listsModels(1);
  });

  it('a prefill worker that stands still after its handoffs: prompts are computed again, memory is freed in the end', async () => {
    const streams = begin();
    const still = await someoneWith('stator_worker_handoff_staged_bytes', 'prefill', streams);
    process.kill(still.pid ?? 0, 'SIGSTOP');
    try {
      await allEndRight(streams);
    } finally {
      process.kill(still.pid ?? 0, 'SIGCONT');
    }
    await comesToRest(cluster, 40_000);
  });

  it('the router lost: stages are placed without it', async () => {
    const streams = begin();
    await cluster.member('router').kill();
    await allAreRight(streams);
    await cluster.add('router', { discoveryTtlSeconds: 2 });
  });

  const roles = new Map<Member, 'prefill' | 'decode'>();

  function membersOf(role: 'prefill' | 'decode'): Member[] {
    const workers = cluster.members.filter((member) => member.role === 'mocker');
    for (const [index, member] of workers.entries())
      if (!roles.has(member)) roles.set(member, index < 2 ? 'prefill' : 'decode');
    return workers.filter((member) => roles.get(member) === role);
  }

  /** A worker takes a dead one's place. */
  async function replace(dead: Member, spec: WorkerSpec): Promise<void> {
    membersOf('prefill');
    const added = await cluster.addWorker(spec);
    roles.set(added, spec === prefill ? 'prefill' : 'decode');
    (cluster.members as Member[]).splice(cluster.members.indexOf(dead), 1);
  }

  /**
   * The first worker of a role whose level of a metric is above zero. The moment may pass unseen: more is asked, of `streams`
   * too, while it does.
   */
  function someoneWith(level: string, role: 'prefill' | 'decode', streams: ChatStream[]): Promise<Member> {
    return until(
      `a ${role} worker has ${level}`,
      async () => {
        const levels = await Promise.all(
          membersOf(role).map(async (member) => ({
            member,
            amount: sumOf(await scrape(member.address).catch(() => []), level),
          })),
        );
        if (streams.filter(({ finishReason }) => finishReason === null).length < expected.size / 2)
          streams.push(...begin());
        return levels.find(({ amount }) => amount > 0)?.member;
      },
      60_000,
    );
  }

  function begin(): ChatStream[] {
    return [...expected.keys()].map((index) => ask(index));
  }

  /** Its own salt keeps every request from blocks that earlier ones left, so that its KV must be fetched. */
  function ask(index: number): ChatStream {
    const messages = [{ role: 'user', content: `${index} ${promptText}` }];
    const cacheSalt = { nvext: { cache_salt: `round ${round++}` } };
    const body = { model, messages, max_tokens: 40, ignore_eos: true, temperature: 1, seed: index, ...cacheSalt };
    return streamChat(cluster.url, body);
  }
  let round = 0;

  async function allAreRight(streams: readonly ChatStream[]): Promise<void> {
    await allEndRight(streams);
    await comesToRest(cluster, 40_000);
    expect(sumOf(await scrapeAll(cluster), 'stator_worker_handoff_pulls_total', { outcome: 'damaged' })).to.equal(0);
  }

  async function allEndRight(streams: readonly ChatStream[]): Promise<void> {
    for (const [position, { ended }] of streams.entries()) {
      const { text, usage } = await ended;
      const index = position % expected.size;
      expect(text, `stream ${position}`).to.equal(expected.get(index));
      expect(usage?.completion_tokens).to.equal(40);
    }
  }
});
