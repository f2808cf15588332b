import { mkdir, open, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'chai';
import { BlockTier, OnboardEnd } from '#gen/stator/kvbm/v1/kvbm_pb.ts';
import type { KvbmConfig } from '#services/kvbm/config.ts';
import { TestKvbm, type TestWorker } from '#services/kvbm/kvbm.test-support.ts';
import { until } from '#tests/support/until.ts';
import { heldNothing, metricOf, stored } from './lower-support.ts';

const { HOST, DISK, OBJECT } = BlockTier;

/** Host memory for so few blocks that a handful of others push them out. */
const hostMib = 1;
const hostBlocks = 62;

describe('movers of KV blocks', () => {
  let kvbm: TestKvbm;
  let worker: TestWorker;
  let settings: Partial<KvbmConfig>;

  async function start(more: Partial<KvbmConfig>): Promise<void> {
    settings = more;
    await kvbm.start(settings);
    worker = await kvbm.attach();
  }

  async function restart(more: Partial<KvbmConfig> = settings, discard = true): Promise<void> {
    await kvbm.stop();
    if (discard) await rm(join(kvbm.folder, 'slabs'), { recursive: true, force: true });
    settings = more;
    await kvbm.start(settings);
    worker = await kvbm.attach();
  }

  const disk = (): Partial<KvbmConfig> => ({ diskDir: join(kvbm.folder, 'disk'), diskMib: 8 });
  const object = (): Partial<KvbmConfig> => ({ objectStore: `file:${join(kvbm.folder, 'objects')}` });

  const metric = (name: string, labels = ''): Promise<number> => metricOf(kvbm, name, labels);

  async function registered(tier: BlockTier): Promise<number> {
    const { arenas } = await kvbm.client.stats({});
    return Number(arenas.find((arena) => arena.tier === tier)?.registered ?? 0n);
  }

  /** Pushes everything else out of host memory. */
  async function flood(name: string): Promise<void> {
    for (let at = 0; at < hostBlocks + 2; at++) await worker.store(`${name}${at}`, 0, 1);
  }

  beforeEach(() => {
    kvbm = new TestKvbm({ hostMib, diskSegmentMib: 1, findTimeoutMs: 10_000 });
    settings = {};
  });
  afterEach(() => kvbm.close());

  for (const name of ['disk', 'object'] as const)
    it(`copy what is registered to ${name}, and bring it back when host memory lost it`, async () => {
      const tier = name === 'disk' ? DISK : OBJECT;
      await start(name === 'disk' ? disk() : object());
      await worker.store('a', 0, 8);
      await stored(kvbm, name, 8);
      await flood('x');
      expect(await worker.match('a', 9)).to.deep.equal(Array(8).fill(tier));
      const read = await worker.read('a', 8);
      expect(read).to.deep.include({ blocks: 8, end: OnboardEnd.COMPLETE, wrong: [] });
      expect(read.tiers).to.deep.equal(Array(8).fill(tier));
      expect(await worker.match('a', 8)).to.deep.equal(Array(8).fill(HOST));
      await worker.release(read.leaseIds);
      await heldNothing(kvbm);
    });

  it('load a block once for all who want it at the same time', async () => {
    await start(disk());
    await worker.store('a', 0, 20);
    await stored(kvbm, 'disk', 20);
    await flood('x');
    const others = await Promise.all(Array.from({ length: 4 }, () => kvbm.attach()));
    const reads = await Promise.all(others.map((other) => other.read('a', 20)));
    for (const read of reads) expect(read).to.deep.include({ blocks: 20, end: OnboardEnd.COMPLETE, wrong: [] });
    expect(await metric('load_blocks_total', 'tier="disk",outcome="loaded"')).to.equal(20);
    for (const [at, other] of others.entries()) await other.release(reads[at]?.leaseIds ?? []);
    await heldNothing(kvbm);
  });

  it('drop a block that decayed on disk: what comes before it is used, the rest is computed', async () => {
    await start(disk());
    await worker.store('a', 0, 6);
    await stored(kvbm, 'disk', 6);
    await flood('x');
    const [folder = ''] = (await readdir(join(kvbm.folder, 'disk'))).filter((entry) => entry.length === 32);
    const file = await open(join(kvbm.folder, 'disk', folder, 'slots-00000.kv'), 'r+');
    const bytes = await file.readFile();
    const at = bytes.indexOf(Buffer.from('a/3|a/3|'));
    await file.write(Buffer.from('spoilt'), 0, 6, at + 2000);
    await file.close();
    const read = await worker.read('a', 6);
    expect(read).to.deep.include({ blocks: 3, end: OnboardEnd.FAILED, wrong: [] });
    await worker.release(read.leaseIds);
    expect(await metric('stored_rejections_total', 'reason="payload_checksum"')).to.equal(1);
    expect(await worker.match('a', 6)).to.deep.equal([HOST, HOST, HOST]);
    // What was read beyond the gap is of use once the gap is filled.
    await worker.store('a', 3, 1);
    expect((await worker.match('a', 6)).length).to.equal(6);
    await heldNothing(kvbm);
  });

  it('find blocks on disk again after a restart, and blocks of another node in the object store', async () => {
    await start({ ...disk(), ...object() });
    await worker.store('a', 0, 5);
    await stored(kvbm, 'disk', 5);
    await stored(kvbm, 'object', 5);
    await restart({ ...settings, objectStore: undefined });
    expect(await worker.match('a', 5)).to.deep.equal(Array(5).fill(DISK));
    const fromDisk = await worker.read('a', 5);
    expect(fromDisk).to.deep.include({ blocks: 5, end: OnboardEnd.COMPLETE, wrong: [] });
    await restart({ ...object(), objectListBlocks: 0 });
    expect(await worker.match('a', 5)).to.deep.equal([]);
    const fromObjects = await worker.read('a', 7);
    expect(fromObjects).to.deep.include({ blocks: 5, end: OnboardEnd.MISSING, wrong: [] });
    expect(fromObjects.tiers).to.deep.equal(Array(5).fill(OBJECT));
    await until('the index has them', async () => (await registered(OBJECT)) === 5);
    await worker.release(fromObjects.leaseIds);
    await heldNothing(kvbm);
  });

  it('neither believe nor keep an object that was cut, changed or put there by somebody', async () => {
    await start({ ...object() });
    await worker.store('a', 0, 4);
    await stored(kvbm, 'object', 4);
    const objects = join(kvbm.folder, 'objects');
    const files = (await readdir(objects, { recursive: true })).filter((name) => name.endsWith('#')).sort();
    const contents = await Promise.all(files.map((name) => readFile(join(objects, name))));
    const of = (index: number): number => contents.findIndex((bytes) => bytes.includes(`a/${index}|a/${index}|`));
    const put = (index: number, bytes: Buffer): Promise<void> =>
      writeFile(join(objects, files[of(index)] ?? ''), bytes);
    // Block 1 holds the bytes of block 2, and block 3 is cut; the directory's own header says so too.
    await put(1, contents[of(2)] ?? Buffer.alloc(0));
    const cut = contents[of(3)] ?? Buffer.alloc(0);
    const header = cut.toString('latin1', 0, 8192).replace(/"size":\d+/, '"size":09000'.replace('09000', ' 9000'));
    await put(3, Buffer.concat([Buffer.from(header, 'latin1').subarray(0, 8192), cut.subarray(8192, 8192 + 9000)]));
    await flood('x');
    const read = await worker.read('a', 4);
    expect(read).to.deep.include({ blocks: 1, end: OnboardEnd.FAILED, wrong: [] });
    expect(await metric('stored_rejections_total', 'reason="wrong_digest"')).to.equal(1);
    expect(await metric('stored_rejections_total', 'reason="truncated"')).to.equal(1);
    await worker.release(read.leaseIds);
    await heldNothing(kvbm);
    const left = (await readdir(objects, { recursive: true })).filter((name) => name.endsWith('#'));
    expect(left).to.not.include(files[of(1)]);
    expect(left).to.not.include(files[of(3)]);
  });

  it('purge a tenant at rest: on disk, and in the object store whatever this node knows of', async () => {
    await start({ ...disk(), ...object() });
    const theirs = await worker.open('salt');
    await worker.store('a', 0, 3, { namespace: theirs });
    await worker.store('b', 0, 3);
    await stored(kvbm, 'disk', 6);
    await stored(kvbm, 'object', 6);
    await flood('x');
    await restart({ ...settings, objectListBlocks: 0 });
    const purged = await kvbm.client.purge({ cacheSalt: 'salt' });
    expect(purged.objects).to.equal(3n);
    await kvbm.stop();
    for (const name of await readdir(kvbm.folder, { recursive: true })) {
      const bytes = await readFile(join(kvbm.folder, name)).catch(() => Buffer.alloc(0));
      expect(bytes.includes('a/1|a/1|a/1|'), name).to.equal(false);
    }
    settings = { ...disk(), ...object() };
    await kvbm.start(settings);
    worker = await kvbm.attach();
    expect(await worker.match('a', 3, await worker.open('salt'))).to.deep.equal([]);
    expect((await worker.read('a', 3, { namespace: await worker.open('salt') })).blocks).to.equal(0);
    expect((await worker.read('b', 3)).blocks).to.equal(3);
  });

  it('encrypt at rest under the first key and read under any, and miss under none', async () => {
    const keys = join(kvbm.folder, 'keys');
    await mkdir(kvbm.folder, { recursive: true });
    await start({});
    const [first, second] = ['11'.repeat(32), '22'.repeat(32)];
    const file = join(kvbm.folder, 'keys');
    await writeFile(file, first);
    await restart({ ...disk(), ...object(), encryptionKeyFile: file });
    await worker.store('a', 0, 4);
    await stored(kvbm, 'disk', 4);
    await stored(kvbm, 'object', 4);
    await kvbm.stop();
    for (const folder of ['disk', 'objects'])
      for (const name of await readdir(join(kvbm.folder, folder), { recursive: true })) {
        const bytes = await readFile(join(kvbm.folder, folder, name)).catch(() => Buffer.alloc(0));
        expect(bytes.includes('a/1|a/1|'), name).to.equal(false);
      }
    for (const [lines, blocks] of [
      [`${second}\n${first}`, 4],
      [second, 0],
    ] as const) {
      await writeFile(file, lines);
      for (const only of [disk(), object()]) {
        await restart({ ...only, encryptionKeyFile: file });
        expect((await worker.read('a', 4)).blocks).to.equal(blocks);
      }
    }
    expect(await metric('stored_rejections_total', 'reason="wrong_key"')).to.be.greaterThan(0);
    expect(keys).to.equal(file);
  });

  it('are verified at rest on demand, and dropped where they are wrong', async () => {
    await start({ ...disk(), ...object() });
    await worker.store('a', 0, 5);
    await stored(kvbm, 'disk', 5);
    await stored(kvbm, 'object', 5);
    const [folder = ''] = (await readdir(join(kvbm.folder, 'disk'))).filter((entry) => entry.length === 32);
    const file = await open(join(kvbm.folder, 'disk', folder, 'slots-00000.kv'), 'r+');
    const at = (await file.readFile()).indexOf(Buffer.from('a/2|a/2|'));
    await file.write(Buffer.from('spoilt'), 0, 6, at + 100);
    await file.close();
    for (const [tier, wrong] of [
      [DISK, 1n],
      [OBJECT, 0n],
    ] as const) {
      let last = { checked: 0n, wrong: 0n };
      for await (const progress of kvbm.client.verify({ tier })) last = progress;
      expect(last).to.include({ checked: 5n, wrong });
    }
    expect(await registered(DISK)).to.equal(4);
    expect(Number((await kvbm.client.evict({ tier: DISK, count: 2n })).evicted)).to.equal(2);
    expect(await registered(DISK)).to.equal(2);
    await heldNothing(kvbm);
  });

  it('give a tenant no more of the disk than its quota', async () => {
    await start({ ...disk(), diskMib: 1, tenantQuotaPercent: 25 });
    const theirs = await worker.open('salt');
    const { arenas } = await kvbm.client.stats({});
    const slots = Number(arenas.find(({ tier }) => tier === DISK)?.blocks ?? 0n);
    await worker.store('own', 0, 4);
    await stored(kvbm, 'disk', 4);
    const most = 4 + Math.floor(slots / 4);
    for (let at = 0; at < 60; at++) {
      await worker.store(`t${at}`, 0, 1, { namespace: theirs });
      expect(await registered(DISK)).to.be.at.most(most);
    }
    await until('the quota is used', async () => (await registered(DISK)) === most);
    expect((await worker.match('own', 4)).length).to.equal(4);
  });

  it('copy under pressure only, where that is asked for', async () => {
    await start({ ...disk(), offloadWhen: 'pressure', offloadPressurePercent: 50 });
    await worker.store('a', 0, 10);
    expect(await metric('offload_waiting')).to.equal(10);
    await worker.store('b', 0, 40);
    await stored(kvbm, 'disk', 50);
  });

  it('hold back what is rare where the disk is to be spared', async () => {
    await start({ ...disk(), diskFilter: 'frequency' });
    await worker.store('a', 0, 2);
    await flood('x');
    expect(await metric('offload_blocks_total', 'outcome="rare"')).to.equal(hostBlocks + 4);
    await worker.store('a', 0, 2);
    await stored(kvbm, 'disk', 2);
  });

  it('copy from disk to the object store what host memory lost meanwhile', async () => {
    await start({ ...disk() });
    await worker.store('a', 0, 3);
    await stored(kvbm, 'disk', 3);
    await restart({ ...disk(), ...object() });
    const read = await worker.read('a', 3);
    expect(read.blocks).to.equal(3);
    await worker.release(read.leaseIds);
    await stored(kvbm, 'object', 3);
    await heldNothing(kvbm);
  });
});
