import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';
import { BlockError } from '#core/blocks/block-error.ts';
import { peerSource } from '#core/blocks/onboarding/plan.ts';
import { BlockTier, OnboardEnd } from '#gen/stator/kvbm/v1/kvbm_pb.ts';
import { xxh3 } from '#native/tokens/index.ts';
import { partOf } from './chain.ts';
import type { OpenLowerTiers } from './create-context.ts';
import { blockBytesOf, chain, refusal, TestKvbm, type TestWorker } from './kvbm.test-support.ts';
import type { BlockSource, LoadRequest, LowerTier, TierParts } from './tiers.ts';

/** Another place that has blocks of the prompt `far`, and answers as a test wants. */
class FarSource implements BlockSource {
  readonly source = peerSource;
  has = 0;
  /** Loads from this block of the chain on fail, hang, or find no room. */
  behaviour: { readonly at: number; readonly how: 'fail' | 'hang' | 'full' } | undefined;
  loads: { readonly from: number; readonly count: number }[] = [];
  cancelled = 0;
  #parts: TierParts | undefined;
  #holder = 0;

  open(parts: TierParts): void {
    this.#parts = parts;
    this.#holder = parts.manager.attach();
  }

  async find(_: unknown, __: unknown, from: number): Promise<number> {
    await delay(1);
    return Math.max(0, this.has - from);
  }

  cost(): { latencyMs: number; blockMs: number } {
    return { latencyMs: 1, blockMs: 1 };
  }

  async load({ chain: wanted, from, count, layout, loaded, signal }: LoadRequest): Promise<number> {
    this.loads.push({ from, count });
    if (this.#parts === undefined) throw new Error('it is not open');
    const { behaviour } = this;
    if (behaviour !== undefined && from >= behaviour.at) {
      if (behaviour.how === 'fail') throw new Error('the far node broke');
      if (behaviour.how === 'full') throw new BlockError('arena_full', 'no room');
      await delay(60_000, undefined, { signal }).catch(() => this.cancelled++);
      return 0;
    }
    const { host } = this.#parts;
    const part = partOf(wanted, from, count);
    const { slots, generations, blocks, epoch } = host.reserve(this.#holder, part, 0);
    const sums = Array.from(blocks, (block, at) => {
      const bytes = blockBytesOf('far', part.startBlock + block);
      bytes.copy(host.payload(layout.index, slots[at] ?? 0));
      const sum = xxh3(bytes);
      return [Number(sum & 0xffff_ffffn), Number(sum >> 32n)];
    });
    await delay(1);
    const sizes = Uint32Array.from(blocks, () => 10_000);
    const commit = { arena: layout.index, epoch, slots, generations, checksums: Uint32Array.from(sums.flat()), sizes };
    host.commit(this.#holder, commit);
    loaded(from, count);
    return count;
  }
}

describe('onboarding', () => {
  let far: FarSource;
  let kvbm: TestKvbm;
  let worker: TestWorker;

  const openFar: OpenLowerTiers = async (_, parts) => {
    far.open(parts);
    return { tiers: [], sources: [far], registered: () => {}, stop: async () => {} };
  };

  beforeEach(async () => {
    far = new FarSource();
    kvbm = await new TestKvbm({ onboardLoadBlocks: 2, onboardWindow: 4 }, openFar).start();
    worker = await kvbm.attach();
  });
  afterEach(() => kvbm.close());

  async function isIdle(): Promise<void> {
    for (;;) {
      const { arenas, holders } = await kvbm.client.stats({});
      const [use] = arenas;
      if (use?.registered === use?.evictable && use?.partial === 0n && holders.every(({ leases }) => leases === 0))
        return;
      await delay(2);
    }
  }

  it('goes on in host memory where another source does, in order', async () => {
    far.has = 9;
    await worker.store('far', 0, 2);
    const read = await worker.read('far', 12);
    expect(read).to.include({ blocks: 9, end: OnboardEnd.MISSING });
    expect(read.wrong).to.deep.equal([]);
    expect(read.tiers).to.deep.equal([...Array(2).fill(BlockTier.HOST), ...Array(7).fill(BlockTier.PEER)]);
    expect(far.loads.map(({ from }) => from)).to.deep.equal([2, 4, 6, 8]);
    await worker.release(read.leaseIds);
    await isIdle();
    const again = await worker.read('far', 9);
    expect(again.tiers).to.deep.equal(Array(9).fill(BlockTier.HOST));
    expect(again.end).to.equal(OnboardEnd.COMPLETE);
    expect(await kvbm.counter('onboarded_blocks_total{peer}')).to.equal(7);
  });

  it('keeps what came before a load that failed', async () => {
    far.has = 8;
    for (const [how, end] of [
      ['fail', OnboardEnd.FAILED],
      ['full', OnboardEnd.FULL],
    ] as const) {
      far.behaviour = { at: 4, how };
      const read = await worker.read('far', 8);
      expect(read, how).to.include({ blocks: 4, end });
      const { failure } = kvbm.records.findLast(({ msg }) => msg === 'onboarded') ?? {};
      expect(failure).to.equal(how === 'fail' ? 'the far node broke' : 'no room');
      await worker.release(read.leaseIds);
    }
    await isIdle();
  });

  it('ends at its deadline with what is there, and calls off what is late', async () => {
    far.has = 8;
    far.behaviour = { at: 2, how: 'hang' };
    const read = await worker.read('far', 8, { timeoutMs: 1000 });
    expect(read).to.include({ blocks: 2, end: OnboardEnd.LATE });
    while (far.cancelled === 0) await delay(2);
    await worker.release(read.leaseIds);
    await isIdle();
  });

  it('leaves nothing pinned when the caller breaks it off', async () => {
    far.has = 8;
    far.behaviour = { at: 2, how: 'hang' };
    const { holderId, namespace } = worker;
    const stop = new AbortController();
    const request = { holderId, chain: chain(namespace, 'far', 0, 8) };
    const messages = kvbm.client.onboard(request, { signal: stop.signal })[Symbol.asyncIterator]();
    expect((await messages.next()).value?.slots).to.have.length(2);
    stop.abort();
    expect(await refusal(messages.next())).to.include('cancelled');
    while (far.cancelled === 0) await delay(2);
    await isIdle();
  });

  it('leaves nothing pinned when the caller is lost meanwhile', async () => {
    far.has = 8;
    far.behaviour = { at: 2, how: 'hang' };
    const reading = refusal(worker.read('far', 8, { timeoutMs: 1000 }));
    while (far.loads.length < 2) await delay(1);
    await worker.cut();
    await reading;
    await kvbm.attach();
    await isIdle();
  });

  it('computes where that is sooner', async () => {
    far.has = 8;
    const request = { holderId: worker.holderId, chain: chain(worker.namespace, 'far', 0, 8), recomputeBlockUs: 100 };
    const messages = [];
    for await (const message of kvbm.client.onboard(request)) messages.push(message);
    expect(messages.map(({ end }) => end)).to.deep.equal([OnboardEnd.MISSING]);
    expect(far.loads).to.deep.equal([]);
    const explained = kvbm.records.find(({ msg }) => msg === 'onboarded');
    expect(explained).to.deep.include({ askedBlocks: 8, foundBlocks: { peer: 8 }, plannedBlocks: 0, handedBlocks: 0 });
    expect(explained).to.include({ recomputeMs: 0.8, expectedMs: 0.8, end: 'missing' });
  });

  it('brings what a hint names into host memory, unpinned, and not twice at once', async () => {
    far.has = 4;
    far.behaviour = { at: 2, how: 'hang' };
    const request = { holderId: worker.holderId, chain: chain(worker.namespace, 'far', 0, 4) };
    await kvbm.client.prefetch(request);
    await kvbm.client.prefetch(request);
    while ((await worker.match('far', 4)).length < 2) await delay(2);
    await isIdle();
    expect(far.loads).to.have.length(2);
    const { counters } = await kvbm.client.stats({});
    expect(counters['prefetches_total{begun}']).to.equal(1n);
    expect(counters['prefetches_total{under_way}']).to.equal(1n);
  });

  it('says at /health which tiers do not work, and leaves nothing open when it cannot start', async () => {
    const health = async () => (await fetch(`http://${kvbm.address}/health`)).json();
    expect(await health()).to.deep.equal({ status: 'serving', degraded: {} });
    await kvbm.close();
    let stopped = 0;
    const tier = { tier: 1, degraded: () => 'the disk is full' } as unknown as LowerTier;
    const openBroken: OpenLowerTiers = async () => ({
      ...{ tiers: [tier], sources: [], registered: () => {} },
      stop: async () => void stopped++,
    });
    kvbm = await new TestKvbm({}, openBroken).start();
    expect(await health()).to.deep.equal({ status: 'degraded', degraded: { disk: 'the disk is full' } });
    expect((await kvbm.client.stats({})).degraded).to.deep.equal({ disk: 'the disk is full' });
    await kvbm.stop();
    expect(await refusal(kvbm.start({ listen: 'nowhere' }))).to.include('invalid_argument');
    expect(stopped).to.equal(2);
    await kvbm.start();
  });

  it('holds over many callers at once, in little memory', async () => {
    far.has = 12;
    const workers = [worker, await kvbm.attach(), await kvbm.attach()];
    const run = async (one: TestWorker, rounds: number): Promise<number> => {
      let blocks = 0;
      for (let round = 0; round < rounds; round++) {
        const read = await one.read('far', 12);
        if (read.wrong.length > 0) throw new Error(`blocks ${read.wrong} changed under a lease`);
        blocks += read.blocks;
        await one.release(read.leaseIds);
        await kvbm.client.evict({ tier: BlockTier.HOST, count: 3n });
        await one.store(`other${round}`, 0, 12).catch(() => {});
      }
      return blocks;
    };
    const read = await Promise.all(workers.map((one) => run(one, 15)));
    expect(read.every((blocks) => blocks > 0)).to.equal(true);
    await isIdle();
  });
});
