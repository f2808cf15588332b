import type { ApproximateIndex } from './approximate.ts';
import type { KvIndex, Overlaps } from './kv-index.ts';

/**
 * Looks a prompt up in what events say and in what recent decisions promise, and takes the better for each slot, so
 * that requests in a row see each other's blocks before the events arrive. Blocks promised on the device no longer
 * count in the lower tiers that they cover. Returns the deepest device match.
 */
export class CombinedIndex {
  readonly #events: KvIndex;
  readonly #predicted: ApproximateIndex;
  #promised = new Uint32Array(0);

  constructor(events: KvIndex, predicted: ApproximateIndex) {
    this.#events = events;
    this.#predicted = predicted;
  }

  match(sequenceHashes: Uint8Array, overlaps: Overlaps, nowMs: number): number {
    const { device, host, disk, external } = overlaps;
    if (this.#promised.length !== device.length) this.#promised = new Uint32Array(device.length);
    const deepest = this.#events.match(sequenceHashes, overlaps);
    const promised = this.#predicted.match(sequenceHashes, this.#promised, nowMs);
    if (promised === 0) return deepest;
    for (let slot = 0; slot < device.length; slot++) {
      let more = (this.#promised[slot] ?? 0) - (device[slot] ?? 0);
      if (more <= 0) continue;
      device[slot] = this.#promised[slot] ?? 0;
      for (const tier of [host, disk, external]) {
        const covered = Math.min(more, tier[slot] ?? 0);
        tier[slot] = (tier[slot] ?? 0) - covered;
        more -= covered;
      }
    }
    return Math.max(deepest, promised);
  }
}
