import { closeSync, existsSync, openSync, readdirSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { BlockTier, OnboardEnd } from '#gen/stator/kvbm/v1/kvbm_pb.ts';
import { blockBytesOf, layout, refusal, TestKvbm } from './kvbm.test-support.ts';

const { HOST } = BlockTier;

describe('host memory over restarts', () => {
  let kvbm: TestKvbm;

  beforeEach(async () => {
    kvbm = await new TestKvbm({ sweepMibPerSecond: 0 }).start();
  });
  afterEach(() => kvbm.close());

  function slabFile(): string {
    const folder = join(kvbm.folder, 'slabs');
    return join(folder, readdirSync(folder).find((name) => name.endsWith('.slab')) ?? '');
  }

  function spoil(offset: number): void {
    const fd = openSync(slabFile(), 'r+');
    writeSync(fd, Buffer.from('spoilt'), 0, 6, offset);
    closeSync(fd);
  }

  it('keeps what was committed, under a new epoch', async () => {
    const worker = await kvbm.attach();
    const salted = await worker.open('tenant');
    await worker.store('a', 0, 5);
    await worker.store('s', 0, 2, { namespace: salted });
    const { epoch } = worker.welcome;
    await kvbm.stop();
    await kvbm.start();
    const again = await kvbm.attach();
    expect(again.welcome.epoch).to.be.greaterThan(epoch);
    expect(again.epoch).to.equal(again.welcome.epoch);
    expect(await again.match('a', 6)).to.deep.equal([HOST, HOST, HOST, HOST, HOST]);
    const read = await again.read('a', 5);
    expect(read).to.include({ blocks: 5, end: OnboardEnd.COMPLETE });
    expect(read.wrong).to.deep.equal([]);
    const tenant = await again.open('tenant');
    expect((await again.read('s', 2, { namespace: tenant })).blocks).to.equal(2);
    expect(await kvbm.counter('recovered_slots_total{adopted}')).to.equal(7);
    expect(await again.store('a', 5, 2)).to.deep.equal([1, 1]);
  });

  it('forgets everything with --discard', async () => {
    await (await kvbm.attach()).store('a', 0, 2);
    await kvbm.stop();
    await kvbm.start({ discard: true });
    expect(await (await kvbm.attach()).match('a', 2)).to.deep.equal([HOST, HOST]);
    await kvbm.stop();
    expect(existsSync(join(kvbm.folder, 'slabs'))).to.equal(false);
    await kvbm.start();
    expect(await (await kvbm.attach()).match('a', 2)).to.deep.equal([]);
  });

  it('does not believe bytes that changed: they are a miss before anyone reads them', async () => {
    const worker = await kvbm.attach();
    await worker.store('a', 0, 4);
    const read = await worker.read('a', 4);
    const slots = read.messages.flatMap((message) => [...message.slots]);
    const { payloadOffset, slotStride } = worker.welcome;
    await kvbm.stop();
    spoil(Number(payloadOffset) + (slots[2] ?? 0) * Number(slotStride) + 5000);
    await kvbm.start();
    const again = await kvbm.attach();
    expect(await again.match('a', 4)).to.have.length(4);
    const found = await again.read('a', 4);
    expect(found).to.include({ blocks: 2, end: OnboardEnd.FAILED });
    expect(found.wrong).to.deep.equal([]);
    expect(await again.match('a', 4)).to.have.length(2);
    expect(await kvbm.counter('unsound_blocks_total')).to.equal(1);
    expect(await again.store('a', 2, 1)).to.deep.equal([1]);
    expect((await again.read('a', 4)).blocks).to.equal(4);
  });

  it('does not believe records that changed', async () => {
    const worker = await kvbm.attach();
    await worker.store('a', 0, 3);
    const slot = (await worker.read('a', 1)).messages[0]?.slots[0] ?? 0;
    const { payloadOffset, slotStride } = worker.welcome;
    await kvbm.stop();
    spoil(Number(payloadOffset) - 4096 + slot * Number(slotStride) + 60);
    await kvbm.start();
    const again = await kvbm.attach();
    expect(await again.match('a', 3)).to.deep.equal([]);
    expect(await kvbm.counter('recovered_slots_total{header_checksum}')).to.equal(1);
    expect(await kvbm.counter('recovered_slots_total{adopted}')).to.equal(2);
  });

  it('verifies in the background what an earlier life left', async () => {
    const worker = await kvbm.attach();
    await worker.store('a', 0, 4);
    const slots = (await worker.read('a', 4)).messages.flatMap((message) => [...message.slots]);
    const { payloadOffset, slotStride } = worker.welcome;
    await kvbm.stop();
    spoil(Number(payloadOffset) + (slots[3] ?? 0) * Number(slotStride));
    await kvbm.start({ sweepMibPerSecond: 1000 });
    const again = await kvbm.attach();
    while ((await kvbm.metrics()).includes('stator_kvbm_unverified_slots 0') === false);
    expect(await again.match('a', 4)).to.have.length(3);
    expect(await kvbm.counter('unsound_blocks_total')).to.equal(1);
  });

  it('does not find what was evicted, purged or never committed', async () => {
    const worker = await kvbm.attach();
    const salted = await worker.open('tenant');
    await worker.store('kept', 0, 1);
    await worker.store('gone', 0, 1);
    await worker.store('purged', 0, 1, { namespace: salted });
    await worker.store('a', 0, 1);
    await worker.reserve('half', 0, 1);
    await worker.read('kept', 1);
    await kvbm.client.purge({ cacheSalt: 'tenant' });
    await kvbm.client.evict({ tier: HOST, count: 1n });
    await kvbm.stop();
    expect(readFileSync(slabFile()).includes(blockBytesOf('purged', 0).subarray(0, 200))).to.equal(false);
    await kvbm.start();
    const again = await kvbm.attach();
    expect(await again.match('kept', 1)).to.deep.equal([HOST]);
    expect(await again.match('a', 1)).to.deep.equal([HOST]);
    for (const prompt of ['gone', 'half']) expect(await again.match(prompt, 1), prompt).to.deep.equal([]);
    expect(await again.match('purged', 1, await again.open('tenant'))).to.deep.equal([]);
  });

  it('refuses the tickets of the life before, and keeps its slots from others while their writer lives', async () => {
    const worker = await kvbm.attach();
    const { slots, generations } = await worker.reserve('a', 0, 2);
    await kvbm.kill();
    await kvbm.start();
    expect(await kvbm.counter('recovered_slots_total{being_written}')).to.equal(2);
    const other = await kvbm.attach();
    expect(await refusal(other.reserve('b', 0, other.welcome.slots - 1))).to.equal('overloaded');
    expect((await other.reserve('b', 0, 3)).slots.filter((slot) => slots.includes(slot))).to.deep.equal([]);
    const again = await kvbm.attach({ lockFile: worker.lockFile });
    expect(await again.refusedCommit(slots, generations, worker.welcome.epoch)).to.equal('conflict epoch');
    expect((await kvbm.client.stats({})).arenas[0]?.revoked).to.equal(0n);
  });

  it('makes room where less memory is allowed than before, and where files are none of its own', async () => {
    await (await kvbm.attach()).store('a', 0, 1);
    await kvbm.stop();
    const file = slabFile();
    writeFileSync(file.replace(/[0-9a-f]{32}/, '0'.repeat(32)), 'no slab');
    await kvbm.start({ hostMib: 2, layoutHostMib: 1 });
    const other = { ...layout, dtype: 'q8_0' };
    await (await kvbm.attach({ layout: other })).store('b', 0, 1);
    await kvbm.stop();
    await kvbm.start({ hostMib: 1 });
    expect((await kvbm.client.stats({})).arenas).to.have.length(1);
    expect(readdirSync(join(kvbm.folder, 'slabs')).filter((name) => name.endsWith('.slab'))).to.have.length(1);
  });
});
