import { expect } from 'chai';
import type { BlockChain } from '#core/blocks/chain.ts';
import { MemoryHub } from '#lib/discovery/memory.ts';
import type { TransferBackend } from '#lib/transfer/transfer.ts';
import { findNixl, NO_NIXL } from '#tests/support/nixl.ts';
import { skip } from '#tests/support/skip.ts';
import { until } from '#tests/support/until.ts';
import { type NodeOverrides, spec, TestNode } from './node.ts';

describe('blocks of other nodes', () => {
  let hub: MemoryHub;
  let nodes: TestNode[];

  beforeEach(() => {
    hub = new MemoryHub();
    nodes = [];
  });
  afterEach(async () => {
    await Promise.all(nodes.map((node) => node.close()));
  });

  async function start(overrides: NodeOverrides = {}): Promise<TestNode> {
    const node = await TestNode.start(hub, overrides);
    nodes.push(node);
    return node;
  }

  /** Waits until nothing that ends with a request is held anywhere. */
  async function idle(): Promise<void> {
    await until('nothing is held', async () => (await Promise.all(nodes.map((node) => node.isIdle()))).every(Boolean));
  }

  for (const backend of ['tcp', 'shm', 'nixl'] as const satisfies readonly TransferBackend[])
    it(`come over ${backend}, byte for byte, and nothing stays behind`, async function () {
      if (backend === 'nixl' && findNixl() === undefined) skip(this, NO_NIXL);
      const [here, there] = [await start({ backend }), await start({ backend })];
      there.store(there.chain('a', 40));
      const wanted = here.chain('a', 50);
      expect(await here.onboard(wanted)).to.deep.equal({ found: 40, loaded: 40 });
      expect(here.has(wanted, 40)).to.equal(true);
      expect(here.slotOf(wanted, 40)).to.equal(-1);
      await idle();
      expect(await here.counter('loads_total')).to.equal(
        `stator_kvbm_peer_loads_total{backend="${backend}",outcome="ok"} 1`,
      );
      const moved = `stator_transfer_transfers_total{backend="${backend}",direction="pull",outcome="ok"} 1`;
      expect(await here.transfers.metrics())
        .to.include(moved)
        .and.match(/stator_transfer_running\{[^}]*\} 0/);
      // What came can be lent on, with a record of its own.
      const third = await start({ backend });
      await there.kill();
      // Which of both it asks first is open until it has their summaries.
      await until('the other one is asked', async () => (await third.onboard(third.chain('a', 40))).loaded === 40);
      expect(third.has(third.chain('a', 40))).to.equal(true);
    });

  it('are only loaded as far as they are not here already', async () => {
    const [here, there] = [await start(), await start()];
    there.store(there.chain('a', 10));
    here.store(here.chain('a', 4));
    expect(await here.onboard(here.chain('a', 10))).to.deep.equal({ found: 10, loaded: 10 });
    expect(here.has(here.chain('a', 10))).to.equal(true);
    expect(here.manager.counters.duplicates).to.equal(0);
    expect(await here.onboard(here.chain('a', 10))).to.deep.equal({ found: 10, loaded: 10 });
    await idle();
  });

  it('are not found in another namespace, layout or on nobody', async () => {
    const here = await start();
    expect(await here.onboard(here.chain('a', 3))).to.deep.equal({ found: 0, loaded: 0 });
    const there = await start();
    there.store(there.chain('a', 3, 'tenant'));
    expect(await here.onboard(here.chain('a', 3))).to.deep.equal({ found: 0, loaded: 0 });
    const other = await start({ layout: { ...spec, format: 'test-2' } });
    expect(await other.onboard(other.chain('a', 3, 'tenant'))).to.deep.equal({ found: 0, loaded: 0 });
    await until('the right one is asked', async () => (await here.onboard(here.chain('a', 3, 'tenant'))).loaded === 3);
  });

  it('are dropped when their bytes or their record are not what they should be', async () => {
    const [here, there] = [await start(), await start()];
    const lent = there.chain('a', 8);
    there.store(lent);
    const damaged = there.slab.payload(there.slotOf(lent, 5));
    damaged[100] = (damaged[100] ?? 0) ^ 1;
    expect((await here.onboard(here.chain('a', 8))).loaded).to.equal(5);
    expect(here.has(here.chain('a', 8), 5)).to.equal(true);
    expect(await here.counter('rejected_blocks_total')).to.match(/reason="payload_checksum"} 1/);
    const record = there.slab.slot(there.slotOf(lent, 6));
    record[100] = (record[100] ?? 0) ^ 1;
    const other = there.chain('b', 4);
    there.store(other);
    there.slab.slot(there.slotOf(lent, 0)).copy(there.slab.slot(there.slotOf(other, 2)), 0, 0, 128);
    expect((await here.onboard(here.chain('b', 4))).loaded).to.equal(2);
    expect(await here.counter('rejected_blocks_total')).to.match(/reason="wrong_digest"} 1/);
    await idle();
  });

  it('need room here, and evict nothing when there is none', async () => {
    const [here, there] = [await start({ slots: 4 }), await start()];
    there.store(there.chain('a', 40));
    const outcome = await here.onboard(here.chain('a', 40)).catch((error: unknown) => error);
    expect(outcome).to.include({ name: 'BlockError', code: 'arena_full' });
    await idle();
  });

  it('are staged within limits of bytes, number and time', async () => {
    const limits = { peerStagedMib: 1, peerStages: 2 };
    const ask = (there: TestNode, { namespace, digests }: BlockChain) =>
      there.client.stageBlocks({
        layout: { ...spec, blockBytes: BigInt(spec.blockBytes) },
        namespaceDigest: Buffer.from(there.manager.namespaceAt(namespace).digest, 'hex'),
        digests: new Uint8Array(digests.buffer, 0, 16 * 300),
        timeoutMs: 60_000,
      });
    const patient = await start({ slots: 400, config: { ...limits, peerStageMs: 25_000 } });
    const chain = patient.chain('a', 300);
    patient.store(chain);
    const { stageId, blocks } = await ask(patient, chain);
    expect(blocks).to.equal(104);
    expect((await ask(patient, chain).catch((error: unknown) => error)) as object).to.include({ code: 'overloaded' });
    await patient.client.releaseBlocks({ stageId });
    expect(await patient.isIdle()).to.equal(true);
    const brief = await start({ slots: 400, config: { ...limits, peerStageMs: 100 } });
    const other = brief.chain('a', 300);
    brief.store(other);
    for (let stage = 1; stage <= 2; stage++) {
      const staged = await ask(brief, other);
      expect(staged.blocks).to.equal(104);
      expect(staged.deadlineUnixMs).to.be.below(Date.now() + 10_000);
      await until('it is over', () => brief.isIdle());
    }
    expect(await brief.counter('stages_total')).to.match(/end="late"} 2/);
  });

  it('are given up when the node does not answer, dies or is cancelled, and that node is left alone', async () => {
    const [here, there] = [await start(), await start()];
    there.store(there.chain('a', 8));
    const chain = here.chain('a', 8);
    expect(await here.peers.source.find(chain, here.layout, 0, new AbortController().signal)).to.equal(8);
    await there.kill();
    for (let i = 0; i < 2; i++) expect((await here.onboard(chain)).loaded).to.equal(0);
    await idle();
    expect(await here.onboard(chain)).to.deep.equal({ found: 0, loaded: 0 });
    const cancelled = await here.onboard(chain, { signal: AbortSignal.abort() });
    expect(cancelled.loaded).to.equal(0);
    await idle();
  });

  it('are given up at the deadline', async () => {
    const [here, there] = [await start(), await start()];
    there.store(there.chain('a', 8));
    expect((await here.onboard(here.chain('a', 8), { deadlineMs: performance.now() - 1 })).loaded).to.equal(0);
    await idle();
  });

  it('may lie on disk there', async () => {
    const loads: number[] = [];
    const disk: NodeOverrides['disk'] = (node) => ({
      source: 1,
      find: async () => 0,
      cost: () => ({ latencyMs: 1, blockMs: 1 }),
      load: async ({ chain, from, count, loaded }) => {
        loads.push(count);
        node.store(chain);
        loaded(from, count);
        return count;
      },
    });
    const [here, there] = [await start(), await start({ disk })];
    const chain = there.chain('a', 12);
    there.storeOnDisk(chain);
    there.store(there.chain('a', 5));
    expect(await here.onboard(here.chain('a', 12))).to.deep.equal({ found: 12, loaded: 12 });
    expect(loads).to.deep.equal([7]);
    expect(here.has(here.chain('a', 12))).to.equal(true);
    await idle();
  });

  it('come right under many loads at once, with eviction on both sides', async () => {
    const [one, two] = [await start({ slots: 60 }), await start({ slots: 60 })];
    const prompts = Array.from({ length: 30 }, (_, at) => `p${at}`);
    let loaded = 0;
    for (let round = 0; round < 3; round++)
      await Promise.all(
        prompts.map(async (prompt, at) => {
          const [here, there] = at % 2 === 0 ? [one, two] : [two, one];
          try {
            there.store(there.chain(prompt, 1 + (at % 6)));
          } catch {
            return;
          }
          const chain = here.chain(prompt, 6);
          const outcome = await here.onboard(chain).catch(() => ({ loaded: 0 }));
          loaded += outcome.loaded;
          for (let block = 0; block < 6; block++)
            if (here.slotOf(chain, block) >= 0) expect(here.has(chain, block)).to.equal(true);
            else break;
        }),
      );
    expect(loaded).to.be.above(0);
    await idle();
  });
});
