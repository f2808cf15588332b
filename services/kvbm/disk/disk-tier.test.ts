import { randomBytes } from 'node:crypto';
import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { BlockManager } from '#core/blocks/block-manager.ts';
import { lru } from '#core/blocks/eviction/lru.ts';
import { tiers } from '#core/blocks/tiers.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { xxh3 } from '#native/tokens/index.ts';
import { describeLayout, type Layout } from '../layout.ts';
import type { RestingPlace, StoredRead } from '../movers/depot.ts';
import { type KnownNamespace, NamespaceBook, namespaceNumber, saltDigest } from '../namespace-book.ts';
import { headerOf } from '../records.ts';
import { identityOf } from '../stored/expected.ts';
import { Sealing } from '../stored/sealing.ts';
import type { TierParts } from '../tiers.ts';
import { alignedBytes } from './aligned.ts';
import { DiskTier, type DiskTierOptions } from './disk-tier.ts';
import { nodeFiles, type SlotFile, type SlotFileSystem } from './files.ts';

const spec = { format: 'test', blockBytes: 9000, blockTokens: 16, dtype: 'f16' };

interface Life {
  readonly tier: DiskTier;
  readonly manager: BlockManager;
  readonly layout: Layout;
  readonly holder: number;
  readonly names: (salt: string) => KnownNamespace;
  nowMs: number;
}

interface Block {
  readonly digest: Uint32Array;
  readonly plain: Uint8Array;
  readonly place: RestingPlace;
}

describe('disk tier', () => {
  let folder: string;
  let lives: Life[];

  async function live(overrides: Partial<DiskTierOptions> = {}): Promise<Life> {
    const manager = new BlockManager({});
    const telemetry = quietTelemetry();
    const files = [path.join(folder, 'book.json')];
    const namespaces = new NamespaceBook({ files, maxNamespaces: 100, log: telemetry.log });
    const life = { nowMs: 0 };
    const parts: TierParts = {
      ...{ manager, namespaces, metrics: telemetry.metrics, log: telemetry.log, hash64: xxh3, epoch: 1 },
      // The disk tier moves nothing itself.
      host: undefined as unknown as TierParts['host'],
      nowMs: () => life.nowMs,
      stopping: new AbortController().signal,
    };
    const sealing = new Sealing({ checksum: async (bytes) => xxh3(bytes), wallMs: () => life.nowMs });
    const tier = new DiskTier(parts, {
      folder: path.join(folder, 'blocks'),
      totalBytes: 16 * 16_384,
      layoutBytes: 16 * 16_384,
      segmentBytes: 4 * 16_384,
      concurrency: 2,
      files: nodeFiles(),
      preallocate: async () => false,
      ...{ sealing, hash: xxh3, nowMs: parts.nowMs, eviction: lru, breaker: { failures: 2 } },
      ...overrides,
    });
    await tier.start();
    const layout = describeLayout(spec, 0);
    manager.addLayout([undefined, await tier.openLayout(layout)]);
    await tier.recover(layout);
    manager.open(tiers.disk, 0);
    const names = (salt: string): KnownNamespace => {
      const modelDigest = 'ab'.repeat(32);
      const facts = { model: 'm', modelDigest, adapterDigest: '', rank: 0, ranks: 1, saltDigest: saltDigest(salt) };
      return namespaces.open({ ...facts, layout: layout.fingerprint });
    };
    lives.push(Object.assign(life, { tier, manager, layout, holder: manager.attach(), names }));
    return lives.at(-1) as Life;
  }

  /** Stores one block as the mover does; the outcome of the write. */
  async function store(life: Life, salt = '', digest = words()): Promise<Block & { outcome: string }> {
    const { manager, tier, layout, holder } = life;
    const namespace = life.names(salt);
    const room = alignedBytes(12_288);
    room.set(randomBytes(9000));
    const plain = room.subarray(0, 9000);
    const number = namespaceNumber(manager, namespace, layout);
    const chain = {
      namespace: number,
      startBlock: 0,
      parent: null,
      digests: digest,
      sequenceHashes: new BigUint64Array(1),
    };
    const reservation = manager.reserve(holder, tiers.disk, chain, 3);
    const [slot = -1] = reservation.slots;
    const checksum = xxh3(plain);
    const checksums = Uint32Array.of(Number(checksum & 0xffffffffn), Number(checksum >> 32n));
    const block = manager.block(tiers.disk, 0, slot);
    if (block === undefined) throw new Error('no block');
    const generation = reservation.generations[0] ?? 0;
    const where = { epoch: reservation.epoch, generation, payloadBytes: 9000, payloadChecksum: checksum };
    const place = { layout, namespace, digest, slot };
    const outcome = await tier.write(place, headerOf(block, namespace, layout, where), room);
    if (outcome === 'written') manager.commit(holder, { ...reservation, checksums, sizes: Uint32Array.of(9000) });
    return { digest, plain, place, outcome };
  }

  async function load(life: Life, { place, digest, plain }: Block): Promise<StoredRead> {
    const room = alignedBytes(12_288);
    const expected = identityOf(life.layout, place.namespace, digest);
    const read = await life.tier.read({ ...place, layout: life.layout }, expected, 9000, room);
    if (read.rejection === undefined) expect(Buffer.compare(room.subarray(0, 9000), plain)).to.equal(0);
    return read;
  }

  function words(): Uint32Array {
    return new Uint32Array(new Uint8Array(randomBytes(16)).buffer);
  }

  async function failure(work: Promise<unknown>): Promise<StatorError> {
    const thrown = await work.then(
      () => undefined,
      (error: unknown) => error,
    );
    if (!(thrown instanceof StatorError)) throw new Error(`no StatorError but ${thrown}`);
    return thrown;
  }

  beforeEach(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'stator-disk-'));
    lives = [];
  });
  afterEach(async () => {
    for (const { tier } of lives) await tier.stop();
    await rm(folder, { recursive: true, force: true });
  });

  it('keeps blocks over a restart, with identity and priority, and does not share its directory', async () => {
    const life = await live();
    const blocks = [await store(life), await store(life), await store(life, 'tenant')];
    expect((await failure(live())).code).to.equal('conflict');
    await life.tier.stop();
    const again = await live();
    for (const block of blocks) {
      const number = namespaceNumber(again.manager, block.place.namespace, again.layout);
      const slot = again.manager.slotOf(tiers.disk, number, block.digest, 0);
      expect(slot).to.equal(block.place.slot);
      expect(again.manager.block(tiers.disk, 0, slot)).to.include({ priority: 3, size: 9000 });
      expect((await load(again, block)).rejection).to.equal(undefined);
      expect(await again.tier.verify(again.layout, slot)).to.equal(true);
    }
  });

  it('finds out what a crash or a decaying disk left', async () => {
    const life = await live();
    const blocks = [await store(life), await store(life), await store(life)];
    await life.tier.stop();
    const file = await open(path.join(folder, 'blocks', life.layout.fingerprint, 'slots-00000.kv'), 'r+');
    // A write that was cut in the bytes, and one that was cut in the record.
    await file.write(randomBytes(2000), 0, 2000, 16_384 * 0 + 4096 + 7000);
    await file.write(randomBytes(60), 0, 60, 16_384 * 1 + 40);
    await file.close();
    const again = await live();
    const [torn, lost, whole] = blocks;
    if (torn === undefined || lost === undefined || whole === undefined) throw new Error('no blocks');
    const number = namespaceNumber(again.manager, torn.place.namespace, again.layout);
    expect(again.manager.slotOf(tiers.disk, number, lost.digest, 0)).to.equal(-1);
    expect(await load(again, torn)).to.deep.equal({ rejection: 'payload_checksum' });
    expect(await again.tier.verify(again.layout, torn.place.slot)).to.equal(false);
    expect((await load(again, whole)).rejection).to.equal(undefined);
  });

  it('does not serve one block for another, nor a slot that has a new block', async () => {
    const life = await live();
    const [a, b] = [await store(life), await store(life, 'tenant')];
    expect(await load(life, { ...a, digest: b.digest })).to.deep.equal({ rejection: 'wrong_digest' });
    expect(await load(life, { ...b, place: { ...b.place, namespace: a.place.namespace } })).to.deep.equal({
      rejection: 'wrong_namespaceDigest',
    });
  });

  it('overwrites everything of a purged tenant, evicted blocks included, and nothing of others', async () => {
    const life = await live();
    const [own, evicted, other] = [await store(life, 'tenant'), await store(life, 'tenant'), await store(life)];
    const number = namespaceNumber(life.manager, evicted.place.namespace, life.layout);
    life.manager.drop(tiers.disk, number, evicted.digest, 0);
    life.manager.purge(own.place.namespace.tenant);
    await life.tier.purge(own.place.namespace.tenant);
    const file = await open(path.join(folder, 'blocks', life.layout.fingerprint, 'slots-00000.kv'));
    const bytes = await file.readFile();
    await file.close();
    for (const { plain } of [own, evicted]) expect(bytes.includes(Buffer.from(plain.subarray(0, 64)))).to.equal(false);
    expect((await load(life, other)).rejection).to.equal(undefined);
    await life.tier.stop();
    const unopened = await live({ layoutBytes: 1 });
    await unopened.tier.purge(other.place.namespace.tenant);
    await unopened.tier.stop();
    expect(await load(await live(), other)).to.deep.equal({ rejection: 'empty' });
  });

  it('goes on with what it has when the disk is full, and takes more when there is room again', async () => {
    let room = 2;
    const life = await live({ files: faulty({ open: () => (room-- > 0 ? undefined : 'ENOSPC') }) });
    const stored: (Block & { outcome: string })[] = [];
    for (let at = 0; at < 9; at++) stored.push(await store(life));
    expect(stored.map(({ outcome }) => outcome)).to.deep.equal([...Array(8).fill('written'), 'no_room']);
    expect(life.tier.degraded()).to.include('ENOSPC');
    expect([life.tier.accepts(), life.tier.answers()]).to.deep.equal([true, true]);
    for (const block of stored.slice(0, 8)) expect((await load(life, block)).rejection).to.equal(undefined);
    room = 5;
    expect((await store(life)).outcome).to.equal('no_room');
    life.nowMs += 60_000;
    expect((await store(life)).outcome).to.equal('written');
    expect(life.tier.degraded()).to.equal(null);
  });

  for (const [code, tries] of [
    ['EIO', 2],
    ['EROFS', 1],
  ] as const)
    it(`is degraded by ${code}, reads on, and works again`, async () => {
      let fails = false;
      const life = await live({ files: faulty({ write: () => (fails ? code : undefined) }) });
      const before = await store(life);
      fails = true;
      for (let at = 0; at < tries; at++) expect((await failure(store(life))).message).to.include(code);
      expect(life.tier.degraded()).to.equal(`writes: ${code}`);
      expect([life.tier.accepts(), life.tier.answers()]).to.deep.equal([false, true]);
      expect((await failure(store(life))).message).to.include('degraded');
      expect((await load(life, before)).rejection).to.equal(undefined);
      fails = false;
      life.nowMs += 60_000;
      expect((await store(life)).outcome).to.equal('written');
      expect(life.tier.degraded()).to.equal(null);
    });

  it('does not serve what it cannot read', async () => {
    let fails = false;
    const life = await live({ files: faulty({ read: () => (fails ? 'EIO' : undefined) }) });
    const block = await store(life);
    fails = true;
    for (let at = 0; at < 2; at++) expect((await failure(load(life, block))).code).to.equal('storage_unavailable');
    expect(life.tier.degraded()).to.equal('reads: EIO');
    fails = false;
    life.nowMs += 60_000;
    expect((await load(life, block)).rejection).to.equal(undefined);
  });
});

interface Faults {
  readonly open?: () => string | undefined;
  readonly read?: () => string | undefined;
  readonly write?: () => string | undefined;
}

/** Real files that fail when the test says so. */
function faulty(faults: Faults): SlotFileSystem {
  const files = nodeFiles();
  const check = (fault: (() => string | undefined) | undefined): void => {
    const code = fault?.();
    if (code !== undefined) throw Object.assign(new Error(code), { code });
  };
  const around = (file: SlotFile): SlotFile => ({
    isDirect: file.isDirect,
    size: () => file.size(),
    close: () => file.close(),
    read: async (buffers, position) => {
      check(faults.read);
      await file.read(buffers, position);
    },
    write: async (buffers, position) => {
      check(faults.write);
      await file.write(buffers, position);
    },
  });
  return {
    ...files,
    open: async (name) => {
      check(faults.open);
      return around(await files.open(name));
    },
  };
}
