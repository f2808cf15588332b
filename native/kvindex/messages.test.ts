import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { expect } from 'chai';
import { ReferenceKvIndex } from '#core/kv-index/reference-index.ts';
import { MalformedEventsError } from '#core/kv-index/reference-message.ts';
import { Random } from '#core/kv-index/testing/random.ts';
import { packHashes } from '#core/tokens/packed-hashes.ts';
import { SubscribeKvEventsResponseSchema } from '#gen/stator/engine/v1/engine_pb.ts';
import { Tier } from '#gen/stator/events/v1/events_pb.ts';
import { createKvIndex } from './index.ts';
import type { NativeKvIndex } from './types.ts';

const hashes = (...values: bigint[]): Uint8Array => packHashes(BigUint64Array.from(values));

const full = toBinary(
  SubscribeKvEventsResponseSchema,
  create(SubscribeKvEventsResponseSchema, {
    batch: {
      events: [
        {
          sequenceNumber: 1n << 60n,
          dataParallelRank: 300,
          change: {
            case: 'stored',
            value: {
              parentSequenceHash: (1n << 64n) - 1n,
              sequenceHashes: hashes(1n, 2n, (1n << 64n) - 2n),
              localHashes: hashes(4n, 5n, 6n),
              tier: Tier.HOST,
              startBlock: 7,
            },
          },
        },
        { sequenceNumber: (1n << 60n) + 1n, change: { case: 'removed', value: { sequenceHashes: hashes(2n) } } },
        { sequenceNumber: (1n << 60n) + 2n, dataParallelRank: 300, change: { case: 'cleared', value: {} } },
        { sequenceNumber: (1n << 60n) + 3n, change: { case: 'stored', value: { sequenceHashes: hashes(1n, 2n) } } },
      ],
    },
    snapshot: true,
    snapshotEnd: true,
    newestSequenceNumber: (1n << 63n) + 5n,
  }),
);

function withSlots(): { native: NativeKvIndex; slotOfRank: (rank: number) => number | undefined } {
  const native = createKvIndex({ maxBlocks: 1000 });
  const slots = new Map([
    [0, native.addSlot()],
    [300, native.addSlot()],
  ]);
  return { native, slotOfRank: (rank) => slots.get(rank) };
}

/** The message with some bytes changed, cut, doubled or put elsewhere. */
function mutated(random: Random): Uint8Array {
  const bytes = [...full];
  for (let i = random.below(4); i >= 0; i--) {
    const at = random.below(bytes.length);
    const kind = random.below(4);
    if (kind === 0) bytes[at] = random.below(256);
    else if (kind === 1) bytes.splice(at, 1 + random.below(4));
    else if (kind === 2) bytes.splice(at, 0, ...bytes.slice(at, at + random.below(20)));
    else bytes.length = Math.max(1, at);
  }
  return Uint8Array.from(bytes);
}

function contents(index: NativeKvIndex): string[] {
  return index.dump(undefined, 1e6).events.map(({ slot, tier, hashes: of }) => `${slot}:${tier}:${of.join()}`);
}

describe('Messages of KV events', () => {
  it('are applied as the generated code reads them', () => {
    const { native, slotOfRank } = withSlots();
    const reference = new ReferenceKvIndex({ maxBlocks: 1000 });
    reference.addSlot();
    reference.addSlot();
    const applied = native.applyMessage(full, slotOfRank);
    expect(applied).to.deep.equal(reference.applyMessage(full, slotOfRank));
    expect(applied).to.include({ events: 4, stored: 5, removed: 0, cleared: 1, unmatchedParents: 1, snapshot: true });
    expect(applied.newestSequenceNumber).to.equal((1n << 63n) + 5n);
    expect(native.applyMessage(new Uint8Array(), slotOfRank)).to.include({ events: 0, lastSequenceNumber: 0n });
  });

  it('keep unknown fields, packed in any order and in pieces', () => {
    const { native, slotOfRank } = withSlots();
    const unknown = [
      0x9a,
      0x06,
      2,
      1,
      2,
      0x9d,
      0x06,
      1,
      2,
      3,
      4,
      0x98,
      0x06,
      0xff,
      1,
      0x99,
      0x06,
      ...new Uint8Array(8),
    ];
    const group = [0x9b, 0x06, 0x9b, 0x06, 0x08, 1, 0x9c, 0x06, 0x9c, 0x06];
    const stored = [0x12, 8, 1, 0, 0, 0, 0, 0, 0, 0];
    const event = [0x1a, stored.length, ...stored, 0x1a, 2, 0x20, 2, 0x08, 9, ...unknown];
    const batch = [0x0a, event.length, ...event];
    const bytes = Uint8Array.from([...unknown, 0x0a, batch.length, ...batch, ...group, 0x0a, batch.length, ...batch]);
    const decoded = fromBinary(SubscribeKvEventsResponseSchema, bytes);
    expect(decoded.batch?.events).to.have.length(2);
    expect(native.applyMessage(bytes, slotOfRank)).to.include({ stored: 1, duplicates: 1, lastSequenceNumber: 9n });
    expect(native.dump(undefined, 10).events).to.deep.include({
      slot: 0,
      tier: 1,
      parent: undefined,
      hashes: hashes(1n),
    });
  });

  it('are refused as a whole when malformed', () => {
    const { native, slotOfRank } = withSlots();
    for (let length = 1; length < full.length; length++) {
      const cut = full.subarray(0, length);
      const before = contents(native);
      const failure = (index: { applyMessage: NativeKvIndex['applyMessage'] }): unknown => {
        try {
          return void index.applyMessage(cut, () => undefined);
        } catch (error) {
          return error;
        }
      };
      const expected = failure(new ReferenceKvIndex({ maxBlocks: 1000 }));
      const error = failure(native);
      expect(error instanceof Error, `${length} bytes`).to.equal(expected instanceof MalformedEventsError);
      if (error !== undefined)
        expect(error).to.include({ name: 'MalformedEventsError', code: 'invalid_argument', field: 'message' });
      expect(contents(native)).to.deep.equal(before);
    }
    expect(native.applyMessage(full, slotOfRank).stored).to.equal(5);
  });

  it('never break the index, whatever the bytes', () => {
    const random = new Random(5);
    const { native, slotOfRank } = withSlots();
    let refused = 0;
    for (let i = 0; i < 20_000; i++) {
      const before = i % 20 === 0 ? contents(native) : undefined;
      try {
        native.applyMessage(mutated(random), slotOfRank);
      } catch (error) {
        expect(error).to.include({ name: 'MalformedEventsError' });
        if (before !== undefined) expect(contents(native)).to.deep.equal(before);
        refused++;
      }
    }
    expect(refused).to.be.within(5000, 19_999);
    const { entries } = native.stats;
    expect(native.dump(undefined, 1e6).events.reduce((sum, event) => sum + event.hashes.length / 8, 0)).to.equal(
      entries,
    );
  });

  it('ask for the slot of each rank once, before anything is applied', () => {
    const { native } = withSlots();
    const asked: number[] = [];
    const lateSlot = (rank: number): number => {
      asked.push(rank);
      native.applyMessage(full, () => 0);
      return native.addSlot();
    };
    native.applyMessage(full, lateSlot);
    expect(asked).to.deep.equal([300, 0]);
    expect(native.stats).to.include({ slots: 4, entries: 4 });
    const applying =
      (slotOfRank: (rank: number) => number): (() => unknown) =>
      () =>
        native.applyMessage(full, slotOfRank);
    expect(applying(() => 77)).to.throw(RangeError, 'Slot 77');
    expect(applying(() => 0.5)).to.throw(RangeError, 'whole number');
    expect(
      applying(() => {
        throw new Error('no such rank');
      }),
    ).to.throw('no such rank');
    expect(native.stats.entries).to.equal(4);
  });
});
