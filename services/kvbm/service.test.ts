import { closeSync, openSync, readFileSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { BlockTier, CommitOutcome, OnboardEnd } from '#gen/stator/kvbm/v1/kvbm_pb.ts';
import {
  all,
  blockBytes,
  blockBytesOf,
  chain,
  digestOf,
  layout,
  refusal,
  TestKvbm,
  type TestWorker,
} from './kvbm.test-support.ts';

const { HOST } = BlockTier;

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
    expect(await other.match('a', 5)).to.deep.equal([HOST, HOST, HOST]);
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

  it('takes reservations back that are given up', async () => {
    const { slots, generations } = await worker.reserve('a', 0, 2);
    const request = { holderId: worker.holderId, epoch: worker.welcome.epoch, slots, generations };
    expect((await kvbm.client.abort(request)).aborted).to.equal(2);
    expect((await kvbm.client.abort(request)).aborted).to.equal(0);
    expect(worker.generation(slots[0] ?? 0)).to.equal((generations[0] ?? 0) + 1);
    expect(await worker.match('a', 1)).to.deep.equal([]);
  });

  it('evicts the longest unused when it is full, and never what is pinned', async () => {
    const { slots: all } = worker.welcome;
    await worker.store('old', 0, 2);
    const read = await worker.read('old', 1);
    for (let at = 0; at < all + 3; at++) await worker.store(`p${at}`, 0, 1);
    expect(await worker.match('old', 2)).to.deep.equal([HOST]);
    await worker.release(read.leaseIds);
    for (let at = 0; at < all + 3; at++) await worker.store(`q${at}`, 0, 1);
    expect(await worker.match('old', 2)).to.deep.equal([]);
    expect(await refusal(worker.reserve('large', 0, all + 1))).to.equal('overloaded');
    expect(await kvbm.counter('refused_full_total')).to.equal(1);
  });

  it('keeps slots that are being written from everyone else', async () => {
    const { slots } = worker.welcome;
    const held = await worker.reserve('a', 0, slots);
    expect(await refusal(worker.reserve('b', 0, 1))).to.equal('overloaded');
    await worker.commit(held.slots.slice(0, 1), held.generations.slice(0, 1), [blockBytesOf('a', 0)]);
    expect((await worker.reserve('b', 0, 1)).slots).to.deep.equal(held.slots.slice(0, 1));
  });

  it('tells namespaces apart by everything that decides the bytes', async () => {
    await worker.store('a', 0, 2);
    const salted = await worker.open('tenant');
    expect(salted).not.to.equal(worker.namespace);
    expect(await worker.match('a', 2, salted)).to.deep.equal([]);
    await worker.store('a', 0, 1, { namespace: salted });
    expect(await worker.match('a', 2, salted)).to.deep.equal([HOST]);
    const wider = await kvbm.attach({ layout: { ...layout, blockBytes: layout.blockBytes + 1n } }).catch(() => null);
    expect(wider).to.equal(null);
    expect(await worker.open('', 'renamed')).to.equal(worker.namespace);
  });

  it('gives each layout a slab, as long as there is room', async () => {
    await kvbm.stop();
    await kvbm.start({ hostMib: 2, layoutHostMib: 1, discard: true });
    const [one, two] = [await kvbm.attach(), await kvbm.attach({ layout: { ...layout, dtype: 'q8_0' } })];
    expect(one.welcome.slabFile).not.to.equal(two.welcome.slabFile);
    await one.store('a', 0, 1);
    expect(await two.match('a', 1)).to.deep.equal([]);
    const third = kvbm.attach({ layout: { ...layout, dtype: 'bf16', blockBytes: 1n << 20n } });
    expect(await refusal(third)).to.equal('overloaded layout');
    expect(statSync(one.welcome.slabFile).mode & 0o777).to.equal(0o600);
  });

  it('drops blocks that a worker found to be wrong, and only those', async () => {
    await worker.store('a', 0, 3);
    const read = await worker.read('a', 3);
    const slots = read.messages.flatMap((message) => [...message.slots]);
    worker.payload(slots[1] ?? 0)[77] = 0xff;
    const second = await worker.read('a', 3);
    expect(second.wrong).to.deep.equal([1]);
    await worker.release([...read.leaseIds, ...second.leaseIds], slots);
    expect(await worker.match('a', 3)).to.deep.equal([HOST]);
    expect(await kvbm.counter('unsound_blocks_total')).to.equal(1);
    await worker.store('a', 0, 3);
    expect(await worker.match('a', 3)).to.deep.equal([HOST, HOST, HOST]);
  });

  it('ends leases that nobody gives back', async () => {
    await kvbm.stop();
    await kvbm.start({ leaseMs: 20 });
    const other = await kvbm.attach();
    await other.store('a', 0, 4);
    expect((await other.read('a', 4)).blocks).to.equal(4);
    while ((await kvbm.client.stats({})).holders.some(({ leases }) => leases > 0));
    expect((await kvbm.client.stats({})).arenas[0]).to.include({ registered: 4n, evictable: 4n });
    expect(await kvbm.counter('expired_leases_total')).to.equal(1);
  });

  it('bounds what a worker may hold', async () => {
    await kvbm.stop();
    await kvbm.start({ maxLeases: 1, maxNamespaces: 2, maxHolders: 2, maxChainBlocks: 8 });
    const other = await kvbm.attach();
    await other.store('a', 0, 2);
    const read = await other.read('a', 1);
    expect(await refusal(other.read('a', 1))).to.equal('overloaded');
    await other.release(read.leaseIds);
    await other.read('a', 1);
    await other.open('x');
    expect(await refusal(other.open('y'))).to.equal('overloaded');
    expect(await refusal(other.reserve('a', 0, 9))).to.equal('invalid_argument chain.digests');
    await kvbm.attach();
    expect(await refusal(kvbm.attach())).to.equal('overloaded');
  });

  it('keeps a tenant to its quota', async () => {
    await kvbm.stop();
    await kvbm.start({ tenantQuotaPercent: 50, discard: true });
    const other = await kvbm.attach();
    const half = Math.floor(other.welcome.slots / 2);
    const greedy = await other.open('greedy');
    await other.store('mine', 0, 1);
    for (let at = 0; at < half + 5; at++) await other.store(`g${at}`, 0, 1, { namespace: greedy });
    const { arenas, counters } = await kvbm.client.stats({});
    expect(arenas[0]?.registered).to.equal(BigInt(half + 1));
    expect(counters['evicted_by_quota_blocks_total']).to.equal(5n);
    expect(await other.match('mine', 1)).to.deep.equal([HOST]);
    expect(await refusal(other.reserve('g', 0, half + 1, { namespace: greedy }))).to.equal('rate_limited');
  });

  it('purges a tenant, under its readers and writers too', async () => {
    const tenant = await worker.open('secret');
    await worker.store('shared', 0, 1);
    await worker.store('t', 0, 3, { namespace: tenant });
    const read = await worker.read('t', 2, { namespace: tenant });
    const written = await worker.reserve('w', 0, 1, { namespace: tenant });
    expect((await kvbm.client.purge({ cacheSalt: 'secret' })).blocks).to.equal(3n);
    expect(await worker.match('t', 3, tenant)).to.deep.equal([]);
    expect(await worker.match('shared', 1)).to.deep.equal([HOST]);
    const slots = read.messages.flatMap((message) => [...message.slots]);
    expect(worker.payload(slots[0] ?? 0).equals(blockBytesOf('t', 0))).to.equal(true);
    await worker.release(read.leaseIds);
    const bytes = [blockBytesOf('w', 0)];
    expect(await worker.commit(written.slots, written.generations, bytes)).to.deep.equal([CommitOutcome.REVOKED]);
    await worker.told(() => slots.every((slot) => worker.payload(slot).every((byte) => byte === 0)));
    expect(await refusal(kvbm.client.purge({ cacheSalt: '' }))).to.equal('invalid_argument cache_salt');
    const kept = readFileSync(join(kvbm.folder, 'slabs', 'namespaces.json'), 'utf8');
    for (const text of [kept, JSON.stringify(kvbm.records), await kvbm.metrics()])
      expect(text).not.to.include('secret');
  });

  it('lists, evicts and verifies', async () => {
    const tenant = await worker.open('t', 'm');
    await worker.store('a', 0, 3, { priority: 2 });
    await worker.store('b', 0, 1, { namespace: tenant });
    const list = async (limit = 0n) => (await all(kvbm.client.listBlocks({ limit }))).flatMap(({ blocks }) => blocks);
    const blocks = await list();
    const first = blocks.find(({ digest }) => digest === digestOf('a', 0).toString('hex'));
    expect(first).to.include({ position: 0, model: 'm', tenant: '', priority: 2, pins: 0 });
    expect(first?.tiers).to.deep.equal([HOST]);
    expect(blocks.map(({ tenant: of }) => of.length).toSorted()).to.deep.equal([0, 0, 0, 16]);
    expect(await list(2n)).to.have.length(2);
    const read = await worker.read('a', 1);
    worker.payload(read.messages[0]?.slots[0] ?? 0)[0] = 0;
    const reports = await all(kvbm.client.verify({}));
    expect(reports.at(-1)).to.include({ checked: 4n, wrong: 1n, total: 4n });
    await worker.release(read.leaseIds);
    expect((await kvbm.client.evict({ tier: HOST, digest: digestOf('a', 2).toString('hex') })).evicted).to.equal(1n);
    expect((await kvbm.client.evict({ tier: HOST, count: 9n, model: 'other' })).evicted).to.equal(0n);
    expect((await kvbm.client.evict({ tier: HOST, count: 1n, model: 'm' })).evicted).to.equal(1n);
    expect((await kvbm.client.evict({ tier: HOST, count: 9n })).evicted).to.equal(1n);
    expect(await list()).to.deep.equal([]);
  });

  it('finds another in its directory and does not start', async () => {
    const second = new TestKvbm({ slabDir: join(kvbm.folder, 'slabs') });
    expect(await refusal(second.start())).to.equal('conflict');
    await second.close();
  });

  it('names what is wrong with a call', async () => {
    const { client } = kvbm;
    const { holderId } = worker;
    const ours = () => ({ holderId, chain: chain(worker.namespace, 'a', 0, 2) });
    const attach = (more: object) => refusal(kvbm.attach(more));
    expect(await attach({ layout: { ...layout, format: '' } })).to.equal('invalid_argument layout.format');
    expect(await attach({ layout: { ...layout, blockBytes: 0n } })).to.equal('invalid_argument layout.block_bytes');
    expect(await attach({ layout: { ...layout, blockTokens: 0 } })).to.equal('invalid_argument layout.block_tokens');
    expect(await attach({ layout: { ...layout, dtype: 'x'.repeat(33) } })).to.equal('invalid_argument layout.dtype');
    expect(await attach({ layout: undefined })).to.equal('invalid_argument layout');
    expect(await attach({ lockFile: 'relative' })).to.equal('invalid_argument lock_file');
    expect(await attach({ lockFile: join(kvbm.folder, 'missing') })).to.equal('invalid_argument lock_file');
    expect(await attach({ lockFile: '/dev/null' })).to.equal('invalid_argument lock_file');
    const spec = { model: 'm', modelDigest: Buffer.alloc(32), ranks: 1 };
    const open = (more: object) => refusal(client.openNamespace({ holderId, spec: { ...spec, ...more } }));
    expect(await refusal(client.openNamespace({ holderId }))).to.equal('invalid_argument spec');
    expect(await open({ model: '' })).to.equal('invalid_argument spec.model');
    expect(await open({ modelDigest: Buffer.alloc(31) })).to.equal('invalid_argument spec.model_digest');
    expect(await open({ adapterDigest: Buffer.alloc(1) })).to.equal('invalid_argument spec.adapter_digest');
    expect(await open({ rank: 1 })).to.equal('invalid_argument spec.rank');
    expect(await open({ cacheSalt: 'x'.repeat(5000) })).to.equal('invalid_argument spec.cache_salt');
    const reserve = (more: object) => refusal(client.reserve({ ...ours(), ...more }));
    expect(await reserve({ holderId: 99n })).to.equal('not_found holder_id');
    expect(await reserve({ chain: undefined })).to.equal('invalid_argument chain');
    expect(await reserve({ chain: { ...ours().chain, namespace: 5 } })).to.equal('not_found chain.namespace');
    expect(await reserve({ chain: { ...ours().chain, digests: Buffer.alloc(17) } })).to.equal(
      'invalid_argument chain.digests',
    );
    expect(await reserve({ chain: { ...ours().chain, sequenceHashes: Buffer.alloc(9) } })).to.equal(
      'invalid_argument chain.sequence_hashes',
    );
    expect(await reserve({ chain: { ...ours().chain, startBlock: 3 } })).to.equal(
      'invalid_argument chain.parent_digest',
    );
    expect(await reserve({ chain: { namespace: worker.namespace } })).to.equal('invalid_argument chain.digests');
    expect(await reserve({ priority: 16 })).to.equal('invalid_argument priority');
    const { slots, generations } = await worker.reserve('a', 0, 1);
    const bytes = [BigInt(blockBytes)];
    const ticket = { holderId, epoch: worker.welcome.epoch, slots, generations, checksums: [1n], bytes };
    const commit = (more: object) => refusal(client.commit({ ...ticket, ...more }));
    expect(await commit({ epoch: 0 })).to.equal('conflict epoch');
    expect(await commit({ generations: [] })).to.equal('invalid_argument generations');
    expect(await commit({ checksums: [] })).to.equal('invalid_argument checksums');
    expect(await commit({ bytes: [] })).to.equal('invalid_argument bytes');
    expect(await commit({ bytes: [0n] })).to.equal('invalid_argument bytes[0]');
    expect(await commit({ bytes: [10_001n] })).to.equal('invalid_argument bytes[0]');
    expect((await client.commit({ ...ticket, slots: [4_000_000] })).outcomes).to.deep.equal([CommitOutcome.REFUSED]);
    expect(await refusal(client.abort({ ...ticket, generations: [] }))).to.equal('invalid_argument generations');
    expect(await refusal(client.evict({ tier: HOST }))).to.equal('invalid_argument count');
    expect(await refusal(client.evict({ count: 1n }))).to.equal('invalid_argument tier');
    expect(await refusal(client.evict({ tier: HOST, digest: 'xyz' }))).to.equal('invalid_argument digest');
    expect(await refusal(all(client.listBlocks({ tier: BlockTier.PEER })))).to.equal('invalid_argument tier');
    expect(await refusal(all(client.verify({ tier: BlockTier.PEER })))).to.equal('invalid_argument tier');
    expect(await refusal(all(client.onboard({ holderId })))).to.equal('invalid_argument chain');
    expect(await refusal(client.match({ holderId }))).to.equal('invalid_argument chain');
    expect(await refusal(client.prefetch({ holderId }))).to.equal('invalid_argument chain');
    await client.release({ holderId, leaseIds: [1n, 1n << 60n], suspectSlots: [4_000_000] });
  });

  it('refuses a directory that others may open', async () => {
    const file = join(kvbm.folder, 'file');
    const fd = openSync(file, 'w');
    writeSync(fd, 'x');
    closeSync(fd);
    const second = new TestKvbm({ slabDir: file });
    expect(await refusal(second.start())).not.to.equal('none');
    await second.close();
  });
});
