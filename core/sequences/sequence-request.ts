import { wordsOf } from './prompt-trie.ts';

/** A placed request, as far as its load goes. */
export interface SequenceRequest {
  /** The worker's rank, by its number in the index. */
  readonly slot: number;
  readonly blockSize: number;
  readonly promptTokens: number;
  /** Prompt tokens that the worker has already. */
  readonly cachedTokens: number;
  /** Sequence hashes of the prompt's full blocks, packed. */
  readonly sequenceHashes: Uint8Array;
  /** Sequences that run from the one prompt. Default 1. */
  readonly sequences?: number | undefined;
  /** Output tokens expected of each sequence. Unset: unknown. */
  readonly expectedOutputTokens?: number | undefined;
  /** False: its blocks are its own, whatever others hold. Default true. */
  readonly assumeKvReuse?: boolean | undefined;
  /** False: its prompt is no work, as in the decode stage of a split request. Default true. */
  readonly trackPrefillTokens?: boolean | undefined;
  /** Milliseconds that its prompt is expected to take. Unset: no model says. */
  readonly expectedPrefillMs?: number | undefined;
}

const noHashes = new Uint32Array();

/** Sequences that run from the prompt. */
export function sequencesOf({ sequences = 1 }: Pick<SequenceRequest, 'sequences'>): number {
  return Math.max(1, sequences);
}

/** The hashes by which its blocks are shared, two words each. */
export function sharedWords(
  { assumeKvReuse = true }: Pick<SequenceRequest, 'assumeKvReuse'>,
  hashes: Uint8Array,
): Uint32Array {
  return assumeKvReuse ? wordsOf(hashes) : noHashes;
}

/** Prompt tokens that its worker must compute. */
export function prefillTokensOf({ promptTokens, cachedTokens, trackPrefillTokens = true }: SequenceRequest): number {
  return trackPrefillTokens ? Math.max(0, promptTokens - cachedTokens) : 0;
}

/** Blocks of a request that cannot be shared: full ones that are not in the trie once, then each sequence's partial one and output. */
export function ownBlocks(
  request: Pick<SequenceRequest, 'blockSize' | 'promptTokens' | 'sequences'>,
  shared: number,
  outputTokens: number,
): number {
  const blockSize = Math.max(1, request.blockSize);
  const sequences = sequencesOf(request);
  const full = Math.floor(request.promptTokens / blockSize);
  const length = request.promptTokens + Math.ceil(outputTokens / sequences);
  return Math.max(0, full - shared) + sequences * (Math.ceil(length / blockSize) - full);
}
