import { expect } from 'chai';
import { BlockTier, CommitOutcome } from '#gen/stator/kvbm/v1/kvbm_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { blockBytesOf, layout, refusal, TestKvbm } from './kvbm.test-support.ts';

const { HOST } = BlockTier;

describe('workers that come and go', () => {
  let kvbm: TestKvbm;

  beforeEach(async () => {
    kvbm = await new TestKvbm().start();
  });
  afterEach(() => kvbm.close());

  async function revoked(): Promise<number> {
    return Number((await kvbm.client.stats({})).arenas[0]?.revoked ?? 0n);
  }

  async function until(condition: () => Promise<boolean>): Promise<void> {
    while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 2));
  }

  it('lose their rights with the stream, and their slots with their life', async () => {
    const [worker, other] = [await kvbm.attach(), await kvbm.attach()];
    const { slots, generations } = await worker.reserve('a', 0, 2);
    await worker.cut();
    await until(async () => (await revoked()) === 2);
    expect(await refusal(worker.commit(slots, generations, [blockBytesOf('a', 0), blockBytesOf('a', 1)]))).to.equal(
      'not_found holder_id',
    );
    // The process lives and may still write: nobody else gets its slots, though everything is asked for.
    const rest = other.welcome.slots - 2;
    expect(await refusal(other.reserve('b', 0, rest + 1))).to.equal('overloaded');
    const theirs = await other.reserve('b', 0, rest);
    expect(theirs.slots.filter((slot) => slots.includes(slot))).to.deep.equal([]);
    expect((await kvbm.client.stats({})).holders.map(({ lost }) => lost)).to.deep.equal([true, false]);
    worker.die();
    await until(async () => (await revoked()) === 0);
    const again = await other.reserve('c', 0, 2);
    expect([...again.slots].toSorted()).to.deep.equal([...slots].toSorted());
    expect(again.generations.every((generation, at) => generation !== generations[at])).to.equal(true);
    expect((await kvbm.client.stats({})).holders).to.have.length(1);
  });

  it('lose nothing that they committed, and leave no lease', async () => {
    const [worker, other] = [await kvbm.attach(), await kvbm.attach()];
    await worker.store('a', 0, 3);
    await worker.read('a', 3);
    await worker.cut();
    await until(async () => (await kvbm.client.stats({})).holders.length === 1);
    expect(await other.match('a', 3)).to.deep.equal([HOST, HOST, HOST]);
    expect((await kvbm.client.stats({})).arenas[0]).to.include({ registered: 3n, evictable: 3n });
  });

  it('take the place of what they were under the same lock file', async () => {
    const worker = await kvbm.attach();
    const before = await worker.reserve('a', 0, 1);
    const second = await kvbm.attach({ lockFile: worker.lockFile });
    expect(StatorError.from(await worker.ended)).to.include({ code: 'conflict', field: 'lock_file' });
    expect(await revoked()).to.equal(0);
    expect((await kvbm.client.stats({})).arenas[0]?.partial).to.equal(0n);
    expect(await second.commit(before.slots, before.generations, [blockBytesOf('a', 0)])).to.deep.equal([
      CommitOutcome.REFUSED,
    ]);
  });

  it('keep their slots for good when they show no lock', async () => {
    const worker = await kvbm.attach({ lockFile: '' });
    await worker.reserve('a', 0, 1);
    await worker.cut();
    await until(async () => (await revoked()) === 1);
    worker.die();
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(await revoked()).to.equal(1);
    const idle = await kvbm.attach({ lockFile: '' });
    await idle.cut();
    await until(async () => (await kvbm.client.stats({})).holders.length === 1);
  });

  it('hear that the block manager lives, and when it ends', async () => {
    const worker = await kvbm.attach();
    await worker.told(() => worker.messages.filter(({ message }) => message.case === 'heartbeat').length >= 2);
    await kvbm.kill();
    expect(await worker.ended).to.equal(null);
  });

  it('are refused under a lock that nobody holds', async () => {
    const worker = await kvbm.attach();
    await worker.cut();
    worker.die();
    expect(await refusal(kvbm.attach({ lockFile: worker.lockFile }))).to.equal('invalid_argument lock_file');
    expect(await refusal(kvbm.attach({ name: 'x'.repeat(257) }))).to.equal('invalid_argument name');
    expect(await refusal(kvbm.attach({ layout: { ...layout, format: 'x'.repeat(300) } }))).to.equal(
      'invalid_argument layout.format',
    );
  });
});
