import { expect } from 'chai';
import { Random } from '../kv-index/testing/random.ts';
import { xxh3 } from '../tokens/xxh3.ts';
import { BlockError } from './block-error.ts';
import { BlockManager } from './block-manager.ts';
import { lineage } from './eviction/lineage.ts';
import { checkPayload, decodeHeader, encodeHeader, headerBytes } from './record/block-header.ts';
import { chainOf, digestsOf, hashOf, pathTo } from './testing/prompts.ts';
import { ReplayedPresence } from './testing/replayed-presence.ts';
import { tiers } from './tiers.ts';

const blocks = 40;
const nodes = 63;
const payloadBytes = 24;
const recordBytes = headerBytes + payloadBytes;
const namespaceDigest = Uint32Array.of(1, 2, 3, 4);

function payloadOf(node: number): Uint8Array {
  return Uint8Array.from({ length: payloadBytes }, (_, at) => (node * 31 + at * 7) & 255);
}

function manager(recovering: boolean, epoch: number): { readonly blocks: BlockManager; readonly namespace: number } {
  const disk = [{ blockBytes: recordBytes, blocks, eviction: lineage, epoch, recovering }];
  const created = new BlockManager({ tiers: [[], disk, []] });
  return {
    blocks: created,
    namespace: created.namespace({ digest: 'a'.repeat(32), model: 'm', tenant: 't', arena: 0 }),
  };
}

/** A disk that writers filled, some of whom were stopped before their commit or in the middle of a block. */
function filledDisk(random: Random): Uint8Array {
  const disk = new Uint8Array(blocks * recordBytes);
  const { blocks: before, namespace } = manager(false, 1);
  const writer = before.attach();
  for (let i = 0; i < 30; i++) {
    const path = pathTo(random.below(nodes));
    const from = random.below(path.length);
    const reservation = before.reserve(writer, tiers.disk, chainOf(namespace, path.at(-1) ?? 0, from));
    const isWhole = random.chance(0.8);
    for (const [at, slot] of reservation.slots.entries()) {
      const position = from + (reservation.blocks[at] ?? 0);
      const record = recordOf(path, position, reservation.generations[at] ?? 0);
      disk.set(isWhole ? record : record.subarray(0, random.below(recordBytes)), slot * recordBytes);
    }
    if (isWhole) before.commit(writer, { ...reservation, checksums: new Uint32Array(2 * reservation.slots.length) });
    else before.abort(writer, reservation);
  }
  return disk;
}

function recordOf(path: readonly number[], position: number, generation: number): Uint8Array {
  const node = path[position] ?? -1;
  const parent = path[position - 1];
  const payload = payloadOf(node);
  const header = encodeHeader(
    {
      epoch: 1,
      generation,
      namespaceDigest,
      modelDigest: 7n,
      layout: 1,
      dtype: 1,
      blockTokens: 16,
      digest: digestsOf([node]),
      sequenceHash: hashOf(node),
      position,
      parent: parent === undefined ? null : { digest: digestsOf([parent]), sequenceHash: hashOf(parent) },
      priority: 0,
      isEncrypted: false,
      payloadBytes,
      payloadChecksum: xxh3(payload),
    },
    xxh3,
  );
  return Uint8Array.of(...header, ...payload);
}

/** Spoils about a quarter of the slots: a bit, a part that another record overwrote, a whole record in the wrong slot. */
function spoil(disk: Uint8Array, random: Random): void {
  for (let slot = 0; slot < blocks; slot++) {
    if (!random.chance(0.25)) continue;
    const at = slot * recordBytes;
    const other = random.below(blocks) * recordBytes;
    const how = random.below(3);
    const bit = at + random.below(recordBytes);
    if (how === 0) disk[bit] = (disk[bit] ?? 0) ^ (1 << random.below(8));
    else disk.copyWithin(at, other, other + (how === 1 ? 1 + random.below(recordBytes - 1) : recordBytes));
  }
}

/** Reads every slot as a restarted service does; returns the node that it found in each. */
function recover(disk: Uint8Array, after: BlockManager, namespace: number): Map<number, number> {
  const adopted = new Map<number, number>();
  for (let slot = 0; slot < blocks; slot++) {
    const record = disk.subarray(slot * recordBytes, (slot + 1) * recordBytes);
    const { header } = decodeHeader(record, { namespaceDigest, payloadBytes, epoch: 1, layout: 1, dtype: 1 }, xxh3);
    if (header === undefined || checkPayload(header, record.subarray(headerBytes), xxh3) !== undefined) continue;
    const { generation, priority, position, parent, digest, sequenceHash } = header;
    const chain = {
      namespace,
      startBlock: position,
      parent,
      digests: digest,
      sequenceHashes: BigUint64Array.of(sequenceHash),
    };
    const taken = after.adopt(tiers.disk, {
      slot,
      generation,
      priority,
      chain,
      checksumLow: Number(header.payloadChecksum & 0xffffffffn),
      checksumHigh: Number(header.payloadChecksum >> 32n),
    });
    if (taken) adopted.set(slot, digest[0] ?? -1);
  }
  return adopted;
}

describe('restart of a tier', () => {
  it('keeps what verifies and nothing else, whatever happened to the records', () => {
    let [kept, lost] = [0, 0];
    for (let seed = 1; seed <= 30; seed++) {
      const random = new Random(seed);
      const disk = filledDisk(random);
      spoil(disk, random);
      const { blocks: after, namespace } = manager(true, 2);
      const adopted = recover(disk, after, namespace);
      after.open(tiers.disk);
      const reader = after.attach();
      const all = Array.from({ length: nodes }, (_, node) => node);
      const lease = after.pin(reader, tiers.disk, namespace, digestsOf(all), all);
      expect(lease.slots.length).to.equal(adopted.size);
      for (const [at, slot] of lease.slots.entries()) {
        const node = lease.blocks[at] ?? -1;
        expect(adopted.get(slot)).to.equal(node);
        const bytes = disk.subarray(slot * recordBytes + headerBytes, (slot + 1) * recordBytes);
        expect([...bytes], `seed ${seed}, slot ${slot}`).to.deep.equal([...payloadOf(node)]);
      }
      expect(after.takeEvents(), 'followers need a snapshot').to.equal(null);
      const presence = new ReplayedPresence();
      for (const changes of after.snapshot()) presence.apply(changes);
      expect(presence.tiers[tiers.disk]?.size).to.equal(adopted.size);
      const [use] = after.use();
      expect(use?.free).to.equal(blocks - adopted.size);
      after.release(reader, lease.id);
      expect(after.evict(tiers.disk, 0, blocks)).to.equal(adopted.size);
      expect(after.records).to.equal(0);
      kept += adopted.size;
      lost += blocks - adopted.size;
    }
    expect(kept).to.be.above(300);
    expect(lost).to.be.above(100);
  });

  it('refuses tickets of the life before, and adoption once it is open', () => {
    const { blocks: before, namespace } = manager(false, 1);
    const reservation = before.reserve(before.attach(), tiers.disk, chainOf(namespace, 5));
    const { blocks: after } = manager(true, 2);
    after.open(tiers.disk);
    const writer = after.attach();
    const checksums = new Uint32Array(2 * reservation.slots.length);
    expect(() => after.commit(writer, { ...reservation, checksums }))
      .to.throw(BlockError, 'epoch 1 is over')
      .with.property('code', 'stale_epoch');
    const block = { slot: 0, generation: 0, priority: 0, checksumLow: 0, checksumHigh: 0, chain: chainOf(0, 0) };
    expect(() => after.adopt(tiers.disk, block))
      .to.throw(BlockError)
      .with.property('code', 'not_recovering');
  });
});
