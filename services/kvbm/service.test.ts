import { expect } from 'chai';
import { BlockTier, CommitOutcome, OnboardEnd } from '#gen/stator/kvbm/v1/kvbm_pb.ts';
import { blockBytesOf, TestKvbm, type TestWorker } from './kvbm.test-support.ts';

describe('the block manager', () => {
  let kvbm: TestKvbm;
  let worker: TestWorker;

  beforeEach(async () => {
    kvbm = await new TestKvbm().start();
    worker = await kvbm.attach();
  });
  afterEach(() => kvbm.close());

  it('keeps what one worker writes and gives it to another', async () => {
    expect(await worker.store('a', 0, 3)).to.deep.equal([1, 1, 1]);
    const other = await kvbm.attach();
    expect(await other.match('a', 5)).to.deep.equal([BlockTier.HOST, BlockTier.HOST, BlockTier.HOST]);
    const read = await other.read('a', 5);
    expect(read).to.include({ blocks: 3, end: OnboardEnd.MISSING });
    expect(read.wrong).to.deep.equal([]);
    await other.release(read.leaseIds);
    expect((await other.read('a', 3)).end).to.equal(OnboardEnd.COMPLETE);
    expect(await worker.store('a', 0, 3)).to.deep.equal([]);
  });

  it('lets the first of two writers of a block win', async () => {
    const [mine, theirs] = [await worker.reserve('a', 0, 1), await worker.reserve('a', 0, 1)];
    const bytes = [blockBytesOf('a', 0)];
    bytes[0]?.copy(worker.payload(mine.slots[0] ?? 0));
    expect(await worker.commit(mine.slots, mine.generations, bytes)).to.deep.equal([CommitOutcome.REGISTERED]);
    expect(await worker.commit(theirs.slots, theirs.generations, bytes)).to.deep.equal([CommitOutcome.DUPLICATE]);
    expect(await worker.commit(theirs.slots, theirs.generations, bytes)).to.deep.equal([CommitOutcome.REFUSED]);
  });
});
