import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { expect } from 'chai';
import { packHashes, unpackHashes } from '#core/tokens/packed-hashes.ts';
import { type KvEventSchema, Tier } from '#gen/stator/events/v1/events_pb.ts';
import { type PresenceEvents, PresenceEventsSchema } from '#gen/stator/kvbm/v1/kvbm_pb.ts';
import type { KvEventChange } from '../engine.ts';
import { TierPresence } from './tier-presence.ts';

const hashes = (...values: bigint[]): Uint8Array => packHashes(BigUint64Array.from(values));
type Change = NonNullable<MessageInitShape<typeof KvEventSchema>['change']>;

function stored(tier: Tier, values: readonly bigint[], o: { parent?: bigint; start?: number } = {}): Change {
  const { parent, start = 0 } = o;
  const rest = parent === undefined ? {} : { parentSequenceHash: parent };
  return { case: 'stored', value: { tier, sequenceHashes: hashes(...values), startBlock: start, ...rest } };
}

function removed(tier: Tier, ...values: bigint[]): Change {
  return { case: 'removed', value: { tier, sequenceHashes: hashes(...values) } };
}

function events(namespace: number, changes: readonly Change[], restart = false): PresenceEvents {
  return create(PresenceEventsSchema, { namespace, restart, batch: { events: changes.map((change) => ({ change })) } });
}

/** `tier: hashes` after the changes, in words. */
function told(changes: Iterable<KvEventChange>): string[] {
  const present = new Set<string>();
  for (const { change } of changes) {
    if (change.case !== 'stored' && change.case !== 'removed') continue;
    for (const hash of unpackHashes(change.value.sequenceHashes)) {
      const name = `${change.value.tier}:${hash}`;
      if (change.case === 'stored') present.add(name);
      else present.delete(name);
    }
  }
  return [...present].toSorted();
}

describe('TierPresence', () => {
  it('passes changes on, and gives the same as a snapshot', () => {
    const presence = new TierPresence();
    const changes = [
      ...presence.apply(events(1, [stored(Tier.HOST, [1n, 2n, 3n]), stored(Tier.DISK, [1n])])),
      ...presence.apply(events(2, [stored(Tier.EXTERNAL, [9n])])),
      ...presence.apply(events(1, [removed(Tier.HOST, 2n, 3n), stored(Tier.HOST, [4n], { parent: 1n, start: 1 })])),
    ];
    const expected = [`${Tier.HOST}:1`, `${Tier.DISK}:1`, `${Tier.HOST}:4`, `${Tier.EXTERNAL}:9`].toSorted();
    expect(told(changes)).to.deep.equal(expected);
    expect(told(presence.snapshot())).to.deep.equal(expected);
    expect([presence.size, presence.has(1, 4n), presence.has(1, 2n), presence.has(2, 4n)]).to.deep.equal([
      3,
      true,
      false,
      false,
    ]);
  });

  it('tells parents before children, with what a router needs to place them', () => {
    const presence = new TierPresence();
    presence.apply(events(1, [stored(Tier.HOST, [3n, 4n], { parent: 2n, start: 2 })]));
    presence.apply(events(1, [stored(Tier.HOST, [1n, 2n]), stored(Tier.HOST, [5n], { parent: 2n, start: 2 })]));
    const runs = [...presence.snapshot()].map(({ change }) =>
      change.case === 'stored'
        ? {
            hashes: [...unpackHashes(change.value.sequenceHashes)],
            parent: change.value.parentSequenceHash,
            start: change.value.startBlock,
          }
        : null,
    );
    expect(runs).to.deep.equal([
      { hashes: [1n, 2n, 3n, 4n], parent: undefined, start: 0 },
      { hashes: [5n], parent: 2n, start: 2 },
    ]);
  });

  it('replaces a namespace by a snapshot, and takes everything back when the block manager is gone', () => {
    const presence = new TierPresence();
    const changes = presence.apply(events(1, [stored(Tier.HOST, [1n, 2n])]));
    changes.push(...presence.apply(events(2, [stored(Tier.DISK, [7n])])));
    changes.push(...presence.apply(events(1, [stored(Tier.HOST, [2n, 3n])], true)));
    expect(told(changes)).to.deep.equal([`${Tier.HOST}:2`, `${Tier.HOST}:3`, `${Tier.DISK}:7`].toSorted());
    changes.push(...presence.clear());
    expect([told(changes), presence.size]).to.deep.equal([[], 0]);
  });

  it('takes back in events of a bounded size', () => {
    const presence = new TierPresence();
    presence.apply(
      events(1, [
        stored(
          Tier.HOST,
          Array.from({ length: 3000 }, (_, i) => BigInt(i + 1)),
        ),
      ]),
    );
    const sizes = presence
      .clear()
      .map(({ change }) => (change.case === 'removed' ? change.value.sequenceHashes.length / 8 : 0));
    expect(sizes).to.deep.equal([1024, 1024, 952]);
  });
});
