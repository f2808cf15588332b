import type { TokenizerMetrics } from './metrics.ts';

interface Entry {
  readonly ids: Uint32Array;
  readonly bytes: number;
}

/** Beyond its text and ids: two map entries, an object, array headers. */
const entryOverheadBytes = 160;

/**
 * Token ids of texts between special tokens, by vocabulary. One memory bound for all models; the least recently used
 * leave first.
 */
export class SegmentCache {
  readonly #maxBytes: number;
  readonly #metrics: TokenizerMetrics;
  readonly #entries = new Map<string, Entry>();
  #bytes = 0;

  constructor(o: { maxBytes: number; metrics: TokenizerMetrics }) {
    this.#maxBytes = o.maxBytes;
    this.#metrics = o.metrics;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get(vocabulary: string, text: string): Uint32Array | null {
    const key = vocabulary + text;
    const entry = this.#entries.get(key);
    if (entry === undefined) {
      this.#metrics.cacheMisses.inc();
      return null;
    }
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    this.#metrics.cacheHits.inc();
    return entry.ids;
  }

  put(vocabulary: string, text: string, ids: Uint32Array): void {
    const bytes = 2 * (vocabulary.length + text.length) + 4 * ids.length + entryOverheadBytes;
    // One text must not push out everything else.
    if (bytes > this.#maxBytes / 8) return;
    const key = ownCopy(vocabulary + text);
    const before = this.#entries.get(key);
    if (before !== undefined) this.#remove(key, before);
    this.#entries.set(key, { ids: ids.slice(), bytes });
    this.#bytes += bytes;
    for (const [oldest, entry] of this.#entries) {
      if (this.#bytes <= this.#maxBytes) break;
      this.#remove(oldest, entry);
    }
    this.#metrics.cacheBytes.set(this.#bytes);
  }

  #remove(key: string, entry: Entry): void {
    this.#entries.delete(key);
    this.#bytes -= entry.bytes;
  }
}

/** A slice of a string keeps the whole string alive; a copy does not. UTF-16 keeps halves of surrogate pairs. */
function ownCopy(text: string): string {
  return Buffer.from(text, 'utf16le').toString('utf16le');
}
