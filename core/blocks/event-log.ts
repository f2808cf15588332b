import { create } from '@bufbuild/protobuf';
import {
  type KvBlocksRemoved,
  KvBlocksRemovedSchema,
  type KvBlocksStored,
  KvBlocksStoredSchema,
} from '#gen/stator/events/v1/events_pb.ts';
import { packHashes } from '../tokens/packed-hashes.ts';
import { eventTier, type TierIndex } from './tiers.ts';

/** A change of presence in one namespace, in the form that the router's index applies. */
export type TierChange = { readonly namespace: number } & (
  | { readonly kind: 'stored'; readonly event: KvBlocksStored }
  | { readonly kind: 'removed'; readonly event: KvBlocksRemoved }
);

/** Blocks in one event at most. */
const maxRun = 4096;

const storedFlag = 4;
const parentFlag = 8;

/**
 * Changes since they were last taken, in columns of 29 bytes. Bounded: when it is full everything is forgotten, and who
 * takes next is told to send a snapshot instead.
 */
export class EventLog {
  readonly #limit: number;
  readonly #kinds: Uint8Array;
  readonly #namespaces: Uint32Array;
  readonly #hashes: BigUint64Array;
  readonly #parents: BigUint64Array;
  readonly #positions: Uint32Array;
  #count = 0;
  #lost = false;

  constructor(limit: number) {
    this.#limit = limit;
    this.#kinds = new Uint8Array(limit);
    this.#namespaces = new Uint32Array(limit);
    this.#hashes = new BigUint64Array(limit);
    this.#parents = new BigUint64Array(limit);
    this.#positions = new Uint32Array(limit);
  }

  get pending(): number {
    return this.#count;
  }

  /** Whether changes were dropped, so that only a snapshot tells what is there. Cleared by `take`. */
  get lost(): boolean {
    return this.#lost;
  }

  stored(tier: TierIndex, namespace: number, hash: bigint, parent: bigint | null, position: number): void {
    this.#add(tier | storedFlag | (parent === null ? 0 : parentFlag), namespace, hash, parent ?? 0n, position);
  }

  removed(tier: TierIndex, namespace: number, hash: bigint): void {
    this.#add(tier, namespace, hash, 0n, 0);
  }

  /** Forgets what is pending: a snapshot must follow. */
  lose(): void {
    this.#count = 0;
    this.#lost = true;
  }

  /** What changed, in order, neighbours joined into runs; null when a snapshot must be sent instead. */
  take(): TierChange[] | null {
    const lost = this.#lost;
    const changes: TierChange[] = [];
    for (let from = 0, to = 1; from < this.#count; to++) {
      if (this.#follows(from, to)) continue;
      changes.push(this.#change(from, to));
      from = to;
    }
    this.#count = 0;
    this.#lost = false;
    return lost ? null : changes;
  }

  #add(kind: number, namespace: number, hash: bigint, parent: bigint, position: number): void {
    if (this.#lost) return;
    if (this.#count === this.#limit) {
      this.lose();
      return;
    }
    const at = this.#count++;
    this.#kinds[at] = kind;
    this.#namespaces[at] = namespace;
    this.#hashes[at] = hash;
    this.#parents[at] = parent;
    this.#positions[at] = position;
  }

  #follows(from: number, at: number): boolean {
    if (at >= this.#count || at - from >= maxRun || this.#namespaces[at] !== this.#namespaces[from]) return false;
    const kind = this.#kinds[at] ?? 0;
    if ((kind & storedFlag) === 0) return kind === this.#kinds[from];
    const sameTier = (kind & 3) === ((this.#kinds[from] ?? 0) & 3) && ((this.#kinds[from] ?? 0) & storedFlag) !== 0;
    return sameTier && (kind & parentFlag) !== 0 && this.#parents[at] === this.#hashes[at - 1];
  }

  #change(from: number, to: number): TierChange {
    const kind = this.#kinds[from] ?? 0;
    const namespace = this.#namespaces[from] ?? 0;
    const tier = eventTier[(kind & 3) as TierIndex];
    const sequenceHashes = packHashes(this.#hashes.slice(from, to));
    if ((kind & storedFlag) === 0)
      return { namespace, kind: 'removed', event: create(KvBlocksRemovedSchema, { sequenceHashes, tier }) };
    const parent = (kind & parentFlag) === 0 ? {} : { parentSequenceHash: this.#parents[from] ?? 0n };
    const startBlock = this.#positions[from] ?? 0;
    return {
      namespace,
      kind: 'stored',
      event: create(KvBlocksStoredSchema, { ...parent, sequenceHashes, tier, startBlock }),
    };
  }
}
