import type { KvIndex } from '#core/kv-index/kv-index.ts';
import { type KvChanges, kvChangeKinds } from '#core/scheduling/engine/engine-model.ts';

/** A change that nobody may see yet. */
interface Later {
  readonly seenMs: number;
  readonly kind: number;
  readonly tier: number;
  readonly parent: bigint | undefined;
  readonly hashes: Uint8Array;
}

/** Brings the changes of one rank's cache to the router's index, each some time after it happened. */
export class KvFeed {
  readonly #index: Pick<KvIndex, 'store' | 'remove'>;
  readonly #slot: () => number;
  readonly #delayMs: number;
  #later: Later[] = [];
  #first = 0;

  /** `slot`: the rank's in the index; below 0: the router does not follow it. */
  constructor(o: { index: Pick<KvIndex, 'store' | 'remove'>; slot: () => number; delayMs: number }) {
    this.#index = o.index;
    this.#slot = o.slot;
    this.#delayMs = o.delayMs;
  }

  /** Whether something happened that cannot be seen yet. */
  get waiting(): boolean {
    return this.#later.length > 0;
  }

  /** Takes new changes and applies what can be seen by now. */
  apply(changes: KvChanges, nowMs: number): void {
    const slot = this.#slot();
    this.#applyLater(slot, nowMs);
    const { count, kinds, tiers, atMs, startBlocks, parents, ends, sequenceHashes } = changes;
    for (let at = 0; at < count; at++) {
      const hashes = sequenceHashes.subarray((at === 0 ? 0 : (ends[at - 1] ?? 0)) * 8, (ends[at] ?? 0) * 8);
      const kind = kinds[at] ?? 0;
      const starts = kind !== kvChangeKinds.stored || startBlocks[at] === 0;
      const parent = starts ? undefined : hashAt(parents, at);
      const seenMs = (atMs[at] ?? 0) + this.#delayMs;
      const tier = tiers[at] ?? 0;
      if (seenMs <= nowMs && this.#later.length === 0) this.#change(slot, kind, tier, parent, hashes);
      else this.#later.push({ seenMs, kind, tier, parent, hashes: hashes.slice() });
    }
  }

  /** Applies what could not be seen before. */
  #applyLater(slot: number, nowMs: number): void {
    const later = this.#later;
    while (this.#first < later.length) {
      const change = later[this.#first];
      if (change === undefined || change.seenMs > nowMs) break;
      this.#change(slot, change.kind, change.tier, change.parent, change.hashes);
      this.#first++;
    }
    if (this.#first === 0) return;
    this.#later = this.#first === later.length ? [] : later.slice(this.#first);
    this.#first = 0;
  }

  #change(slot: number, kind: number, tier: number, parent: bigint | undefined, hashes: Uint8Array): void {
    if (slot < 0) return;
    if (kind === kvChangeKinds.stored) this.#index.store(slot, tier, parent, hashes);
    else this.#index.remove(slot, tier, hashes);
  }
}

function hashAt(packed: Uint8Array, at: number): bigint {
  return new DataView(packed.buffer, packed.byteOffset + at * 8, 8).getBigUint64(0, true);
}
