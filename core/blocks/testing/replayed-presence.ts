import { unpackHashes } from '../../tokens/packed-hashes.ts';
import type { TierChange } from '../event-log.ts';
import { eventTier } from '../tiers.ts';
import { hashOf } from './prompts.ts';

/** What a follower of the events believes: presence by tier, as `namespace:hash`. */
export class ReplayedPresence {
  readonly tiers = eventTier.map(() => new Set<string>());

  /** Throws when a change contradicts what is believed: stored twice, removed unknown, a wrong parent. */
  apply(changes: readonly TierChange[]): void {
    for (const { namespace, kind, event } of changes) {
      const present = this.tiers[eventTier.indexOf(event.tier as (typeof eventTier)[number])];
      const hashes = unpackHashes(event.sequenceHashes);
      if (kind === 'stored') checkParents(hashes, event.parentSequenceHash);
      for (const hash of hashes) {
        const key = `${namespace}:${hash}`;
        if (present === undefined || present.has(key) === (kind === 'stored'))
          throw new Error(`${kind} ${key} contradicts what came before`);
        if (kind === 'stored') present.add(key);
        else present.delete(key);
      }
    }
  }
}

function checkParents(hashes: BigUint64Array, first: bigint | undefined): void {
  let before = first;
  for (const hash of hashes) {
    const node = Number(hash >> 33n) - 1;
    const parent = node === 0 ? undefined : hashOf((node - 1) >> 1);
    if (parent !== before) throw new Error(`node ${node} is told to follow ${before}`);
    before = hash;
  }
}
