import { packHashes } from '#core/tokens/packed-hashes.ts';
import { hashBlocks } from '#native/tokens/index.ts';
import type { PromptShape } from './trace-request.ts';

const unsalted = { cacheSalt: '', adapter: '' };

/**
 * Packed sequence hashes of a prompt's full blocks. Each block has two words for what it covers instead of its tokens, and
 * those are chained as tokens are; so prompts share blocks exactly where `tokensOfPrompt` does.
 */
export class PromptHasher {
  readonly #blockSize: number;
  #words = new Uint32Array(1024);

  constructor(blockSize: number) {
    this.#blockSize = blockSize;
  }

  hash({ ids, lengths }: PromptShape, promptTokens: number): Uint8Array {
    const size = this.#blockSize;
    const blocks = Math.floor(promptTokens / size);
    if (this.#words.length < blocks * 2) this.#words = new Uint32Array(blocks * 3);
    const words = this.#words;
    let run = 0;
    let offset = 0;
    for (let block = 0; block < blocks; block++) {
      let low = 0x811c9dc5;
      let high = 0x2545f491;
      let missing = size;
      while (missing > 0) {
        const id = ids[run] ?? 0;
        const taken = Math.min(missing, (lengths[run] ?? 0) - offset);
        low = mix(mix(mix(mix(low, id >>> 0), highWord(id)), offset), taken);
        high = mix(mix(mix(mix(high, taken), offset), id >>> 0), highWord(id));
        missing -= taken;
        offset += taken;
        if (offset === lengths[run]) {
          run++;
          offset = 0;
        }
      }
      words[block * 2] = low;
      words[block * 2 + 1] = high;
    }
    return packHashes(hashBlocks(words.subarray(0, blocks * 2), 2, unsalted).sequenceHashes);
  }
}

/** Token ids for a prompt: a pure function of what it consists of, from `lowest` to below `lowest + count`. */
export function tokensOfPrompt(
  { ids, lengths }: PromptShape,
  vocabulary: { readonly lowest: number; readonly count: number },
): Uint32Array {
  const tokens = new Uint32Array(lengths.reduce((sum, length) => sum + length, 0));
  let at = 0;
  for (let run = 0; run < ids.length; run++) {
    const id = ids[run] ?? 0;
    const seed = mix(mix(0x9747b28c, id >>> 0), highWord(id));
    const length = lengths[run] ?? 0;
    for (let offset = 0; offset < length; offset++)
      tokens[at++] = vocabulary.lowest + (mix(seed, offset) % vocabulary.count);
  }
  return tokens;
}

/** The bits of a whole number, negative too, above the lowest 32. */
function highWord(id: number): number {
  return Math.floor(id / 2 ** 32) >>> 0;
}

/** Unsigned 32 bits that depend on every bit of both (after MurmurHash3). */
function mix(state: number, value: number): number {
  let h = Math.imul(state ^ Math.imul(value + 0x7f4a7c15, 0xcc9e2d51), 0x9e3779b1);
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
