import { SpecialSplitter } from '#core/tokens/special-splitter.ts';
import type { SegmentCache } from './segment-cache.ts';
import type { Vocabulary } from './vocabulary.ts';

export interface EncodedText {
  readonly ids: Uint32Array;
  /** How many of them came from the cache. */
  readonly cachedTokens: number;
}

/** Encodes text through the cache: only pieces between special tokens that were not seen before are encoded. */
export class CachedEncoder {
  readonly #vocabulary: Vocabulary;
  readonly #cache: SegmentCache | null;
  readonly #key: string;
  readonly #splitter: SpecialSplitter;

  /** `key` names the vocabulary in the cache. */
  constructor(vocabulary: Vocabulary, cache: SegmentCache | null, key: string) {
    this.#vocabulary = vocabulary;
    this.#cache = cache;
    this.#key = key;
    this.#splitter = new SpecialSplitter(vocabulary.addedTokens);
  }

  async encode(text: string): Promise<EncodedText> {
    const cache = this.#cache;
    if (cache === null || this.#splitter.cutIds.size === 0) {
      return { ids: await this.#vocabulary.encoder.encode(text), cachedTokens: 0 };
    }
    const pieces = this.#splitter.split(text);
    const known = pieces.map((piece) => cache.get(this.#key, piece));
    const runs = missingRuns(known);
    const encoded = await Promise.all(runs.map((run) => this.#encodeRun(cache, pieces.slice(run.from, run.to))));
    const cachedTokens = known.reduce((sum, ids) => sum + (ids?.length ?? 0), 0);
    return { ids: join(known, runs, encoded), cachedTokens };
  }

  /** Encodes neighbouring pieces in one call, and keeps each one's share of the ids. */
  async #encodeRun(cache: SegmentCache, pieces: readonly string[]): Promise<Uint32Array> {
    const ids = await this.#vocabulary.encoder.encode(pieces.join(''));
    const starts = [0];
    for (let i = 1; i < ids.length; i++) if (this.#splitter.cutIds.has(ids[i] ?? -1)) starts.push(i);
    // Unequal only if the vocabulary spells a special token with ordinary ones: then nothing is kept.
    if (starts.length !== pieces.length) return ids;
    for (const [i, piece] of pieces.entries()) cache.put(this.#key, piece, ids.subarray(starts[i], starts[i + 1]));
    return ids;
  }
}

interface Run {
  readonly from: number;
  readonly to: number;
}

function missingRuns(known: readonly (Uint32Array | null)[]): Run[] {
  const runs: Run[] = [];
  for (let from = 0; from < known.length; from++) {
    if (known[from] !== null) continue;
    let to = from + 1;
    while (to < known.length && known[to] === null) to++;
    runs.push({ from, to });
    from = to;
  }
  return runs;
}

function join(
  known: readonly (Uint32Array | null)[],
  runs: readonly Run[],
  encoded: readonly Uint32Array[],
): Uint32Array {
  const parts: Uint32Array[] = [];
  let run = 0;
  for (let i = 0; i < known.length; i++) {
    const ids = known[i];
    if (ids !== null && ids !== undefined) parts.push(ids);
    else if (runs[run]?.from === i) parts.push(encoded[run++] ?? new Uint32Array(0));
  }
  return concatenateIds(parts);
}

export function concatenateIds(parts: readonly Uint32Array[]): Uint32Array {
  const only = parts[0];
  if (parts.length === 1 && only !== undefined) return only;
  const all = new Uint32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
