import { binding } from './addon.ts';
import type { NativeApproximate } from './binding.d.ts';
import type { ApproximateOptions, NativeApproximateIndex } from './types.ts';

/** The approximate index of core/kv-index in C++. RangeError for a time or a number of blocks below 1. */
export function createApproximateIndex(options: ApproximateOptions): NativeApproximateIndex {
  return new ApproximateIndex(options);
}

class ApproximateIndex implements NativeApproximateIndex {
  readonly #results = new Float64Array(2);
  readonly #native: NativeApproximate;

  constructor({ bound, maxBlocks }: ApproximateOptions) {
    const ttlMs = bound.kind === 'ttl' ? bound.ttlMs : 0;
    const blocksPerSlot = bound.kind === 'lru' ? bound.blocksPerSlot : 0;
    this.#native = binding().createApproximate(ttlMs, blocksPerSlot, maxBlocks, this.#results);
  }

  record(slot: number, sequenceHashes: Uint8Array, nowMs: number): void {
    this.#native.record(slot, sequenceHashes, nowMs);
  }

  match(sequenceHashes: Uint8Array, device: Uint32Array, nowMs: number): number {
    return this.#native.match(sequenceHashes, device, nowMs);
  }

  removeSlot(slot: number): void {
    this.#native.removeSlot(slot);
  }

  limitSlot(slot: number, blocks: number): void {
    this.#native.limitSlot(slot, blocks);
  }

  expire(nowMs: number): void {
    this.#native.expire(nowMs);
  }

  get stats(): { readonly entries: number; readonly bytes: number } {
    this.#native.stats();
    const [entries = 0, bytes = 0] = this.#results;
    return { entries, bytes };
  }
}
