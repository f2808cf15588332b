import { HashRows } from '../../kv-events/hash-rows.ts';

const countWord = 2;
const maxCount = 2 ** 31;

/**
 * A counter per block that starts at 1, doubles with every touch and loses 1 with every decay interval; at 0 it is
 * forgotten. Bounded: at the limit everything decays once more, and while nothing is forgotten new blocks count as 1.
 */
export class DoublingCounters {
  readonly #rows = new HashRows(3);
  readonly #limit: number;
  readonly #decayMs: number;
  #decayedAtMs: number;

  constructor(limit: number, decayMs: number, nowMs: number) {
    this.#limit = limit;
    this.#decayMs = decayMs;
    this.#decayedAtMs = nowMs;
  }

  get count(): number {
    return this.#rows.count;
  }

  get bytes(): number {
    return this.#rows.bytes;
  }

  /** Counts one more attempt or hit; returns the count. */
  touch(low: number, high: number, nowMs: number): number {
    this.#decayUntil(nowMs);
    const row = this.#rows.find(low, high);
    if (row >= 0) {
      const word = row * this.#rows.width + countWord;
      const doubled = Math.min(maxCount, 2 * (this.#rows.words[word] ?? 0));
      this.#rows.words[word] = doubled;
      return doubled;
    }
    if (this.#rows.count >= this.#limit) this.#decay(1);
    if (this.#rows.count < this.#limit) this.#rows.words[this.#rows.add(low, high) * this.#rows.width + countWord] = 1;
    return 1;
  }

  #decayUntil(nowMs: number): void {
    const intervals = Math.floor((nowMs - this.#decayedAtMs) / this.#decayMs);
    if (intervals <= 0) return;
    this.#decayedAtMs += intervals * this.#decayMs;
    this.#decay(intervals);
  }

  #decay(by: number): void {
    const { words, width } = this.#rows;
    const gone: number[] = [];
    for (const row of this.#rows.rows()) {
      const word = row * width + countWord;
      const left = (words[word] ?? 0) - by;
      if (left > 0) words[word] = left;
      else gone.push(row);
    }
    for (const row of gone) this.#rows.delete(row);
  }
}
