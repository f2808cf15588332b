import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';
import { BlockTier, OnboardEnd } from '#gen/stator/kvbm/v1/kvbm_pb.ts';
import { TestKvbm, type TestWorker } from '#services/kvbm/kvbm.test-support.ts';

describe('block managers of two nodes', () => {
  let nodes: TestKvbm[];

  beforeEach(async () => {
    const settings = { peers: true, peerTransfer: 'tcp', peerSummaryMs: 20 } as const;
    nodes = [await new TestKvbm(settings).start(), await new TestKvbm(settings).start()];
  });
  afterEach(async () => {
    for (const node of nodes) await node.close();
  });

  /** A node hears of new blocks of another only now and then. */
  async function readOnceKnown(reader: TestWorker, prompt: string, count: number, known: number, namespace: number) {
    for (;;) {
      const read = await reader.read(prompt, count, { namespace });
      if (read.blocks >= known) return read;
      await reader.release(read.leaseIds);
      await delay(10);
    }
  }

  it('give each other what one of them has', async () => {
    const [one, two] = nodes as [TestKvbm, TestKvbm];
    const [writer, reader] = [await one.attach(), await two.attach()];
    await writer.store('a', 0, 6);
    const salted = await writer.open('tenant');
    await writer.store('s', 0, 2, { namespace: salted });
    const read = await readOnceKnown(reader, 'a', 8, 6, reader.namespace);
    expect(read).to.include({ blocks: 6, end: OnboardEnd.MISSING });
    expect(read.wrong).to.deep.equal([]);
    await reader.release(read.leaseIds);
    expect(await reader.match('a', 8)).to.deep.equal(Array(6).fill(BlockTier.HOST));
    expect((await reader.read('s', 2)).blocks).to.equal(0);
    await readOnceKnown(reader, 's', 2, 2, await reader.open('tenant'));
    await one.client.evict({ tier: BlockTier.HOST, count: 100n });
    const { arenas, holders } = await one.client.stats({});
    expect(arenas[0]).to.include({ partial: 0n, doomed: 0n });
    expect(holders.map(({ leases }) => leases)).to.deep.equal([0]);
  });

  it('go on alone when the other is gone', async () => {
    const [one, two] = nodes as [TestKvbm, TestKvbm];
    const [writer, reader] = [await one.attach(), await two.attach()];
    await writer.store('a', 0, 3);
    await reader.store('a', 0, 2);
    await one.stop();
    const read = await reader.read('a', 3);
    expect(read).to.include({ blocks: 2, end: OnboardEnd.MISSING });
    expect(await reader.store('a', 2, 1)).to.deep.equal([1]);
  });
});
