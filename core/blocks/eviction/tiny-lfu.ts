/** Counters per entry: one for each hash function. */
const hashes = 4;
const seeds = [0x9e3779b1, 0x85ebca77, 0xc2b2ae3d, 0x27d4eb2f] as const;
/** What a counter of 4 bits holds. */
export const maxFrequency = 15;

/**
 * How often keys came lately: a count-min sketch with counters of 4 bits that are halved after 10 increments per entry
 * (TinyLFU: Einziger, Friedman, Manes, 2017). `entries` is rounded up to a power of two.
 */
export class TinyLfu {
  readonly #counters: Uint8Array;
  readonly #mask: number;
  readonly #sampleSize: number;
  #increments = 0;

  constructor(entries: number) {
    const size = 2 ** Math.max(4, Math.ceil(Math.log2(entries)));
    this.#counters = new Uint8Array(size / 2);
    this.#mask = size - 1;
    this.#sampleSize = 10 * size;
  }

  get bytes(): number {
    return this.#counters.byteLength;
  }

  increment(low: number, high: number): void {
    for (let hash = 0; hash < hashes; hash++) {
      const counter = this.#counterOf(low, high, hash);
      if (this.#read(counter) === maxFrequency) continue;
      const at = counter >> 1;
      this.#counters[at] = (this.#counters[at] ?? 0) + ((counter & 1) === 0 ? 1 : 16);
    }
    if (++this.#increments >= this.#sampleSize) this.#halve();
  }

  /** Estimate from 0 to 15: never below the true count until counters are halved or full. */
  estimate(low: number, high: number): number {
    let least = maxFrequency;
    for (let hash = 0; hash < hashes; hash++) least = Math.min(least, this.#read(this.#counterOf(low, high, hash)));
    return least;
  }

  #counterOf(low: number, high: number, hash: number): number {
    let mixed = Math.imul(low ^ (seeds[hash] ?? 0), 0x85ebca6b) ^ Math.imul(high, seeds[(hash + 1) % hashes] ?? 0);
    mixed ^= mixed >>> 15;
    mixed = Math.imul(mixed, 0x2c1b3c6d);
    return (mixed ^ (mixed >>> 13)) & this.#mask;
  }

  #read(counter: number): number {
    return ((this.#counters[counter >> 1] ?? 0) >> (4 * (counter & 1))) & 15;
  }

  /** Both counters of a byte at once: what falls from the upper into the lower is masked away. */
  #halve(): void {
    const counters = this.#counters;
    for (let at = 0; at < counters.length; at++) counters[at] = ((counters[at] ?? 0) >> 1) & 0x77;
    this.#increments = this.#increments >> 1;
  }
}
