/** Ids of the byte vocabulary: 0 padding, 1 begin, 2 end, then one id for each byte. */
export const byteVocabulary = { size: 259, bos: 1, eos: 2, firstByte: 3 } as const;

/** A token and the natural logarithm of its probability; rank 1 is the likeliest. */
export interface SyntheticLogprob {
  readonly tokenId: number;
  readonly logprob: number;
  readonly rank: number;
}

const letterA = byteVocabulary.firstByte + 97;
const space = byteVocabulary.firstByte + 32;
const period = byteVocabulary.firstByte + 46;
const letters = 26;
/** Letters about as often as in English. */
const frequentLetters = [...'eeeeetttaaaooiinnnsshhrrrddllucmfwygpbvk'].map((letter) => letter.charCodeAt(0) - 97);
/** Alternatives that have a probability of their own. */
export const maxAlternatives = 20;

export interface SyntheticOptions {
  /** Folded into every token; zero where sampling is greedy. */
  readonly seed: bigint;
  /** Adapter name; another name is another text. Empty: none. */
  readonly adapter: string;
  /** One token in this many is the end of the text; zero: it never ends. */
  readonly meanOutputTokens: number;
}

/**
 * A language model without a model: the next token is a pure function of all tokens before it, so that any worker
 * continues any prefix in the same way. The text is lower-case words with spaces and full stops.
 */
export class SyntheticModel {
  readonly #endBelow: number;
  #state: number;
  #length = 0;
  /** Letters since the last token that was none. */
  #run = 0;
  #last = -1;

  constructor(o: SyntheticOptions) {
    this.#endBelow = o.meanOutputTokens > 0 ? 2 ** 32 / o.meanOutputTokens : 0;
    let state = mix(0x9e3779b9, Number(BigInt.asUintN(32, o.seed)));
    state = mix(state, Number(BigInt.asUintN(32, o.seed >> 32n)));
    for (let i = 0; i < o.adapter.length; i++) state = mix(state, o.adapter.charCodeAt(i));
    this.#state = state;
  }

  /** Extends the prefix. */
  push(tokenId: number): void {
    this.#length++;
    this.#state = mix(mix(this.#state, tokenId), this.#length);
    const letter = tokenId - letterA;
    this.#run = letter >= 0 && letter < letters ? this.#run + 1 : 0;
    this.#last = tokenId;
  }

  /** Whether the text ends here. */
  get ends(): boolean {
    return mix(this.#state, 1) < this.#endBelow;
  }

  /** The likeliest next token, the end aside. */
  next(): number {
    const draw = mix(this.#state, 2);
    if (this.#last === period) return space;
    if (this.#run > 9 || (this.#run > 1 && draw % 8 < 2)) return (draw >>> 8) % 12 === 0 ? period : space;
    return letterA + (frequentLetters[(draw >>> 8) % frequentLetters.length] ?? 0);
  }

  /** The likeliest next token after biases are added to the logits. */
  biased(bias: ReadonlyMap<number, number>): number {
    const base = this.likeliest(maxAlternatives);
    let best = -1;
    let bestLogit = Number.NEGATIVE_INFINITY;
    const consider = (tokenId: number, logit: number): void => {
      if (logit <= bestLogit) return;
      best = tokenId;
      bestLogit = logit;
    };
    for (const { tokenId, logprob } of base) consider(tokenId, logprob + (bias.get(tokenId) ?? 0));
    for (const [tokenId, value] of bias) consider(tokenId, this.logprobOf(tokenId).logprob + value);
    return best;
  }

  /** The likeliest tokens, likeliest first; at most 20. Their probabilities sum to less than one. */
  likeliest(count: number): SyntheticLogprob[] {
    const first = this.next();
    const likeliest = [first];
    const start = mix(this.#state, 3) % letters;
    // 7 and 26 have no common factor, so the walk meets every letter once.
    for (let i = 0; likeliest.length < Math.min(count, maxAlternatives); i++) {
      const tokenId = letterA + ((start + i * 7) % letters);
      if (tokenId !== first) likeliest.push(tokenId);
    }
    return likeliest
      .slice(0, count)
      .map((tokenId, index) => ({ tokenId, logprob: this.#logprobAt(index), rank: index + 1 }));
  }

  /** Log-probability of any token as the next one. */
  logprobOf(tokenId: number): SyntheticLogprob {
    const found = this.likeliest(maxAlternatives).find((candidate) => candidate.tokenId === tokenId);
    const rank = maxAlternatives + 1 + tokenId;
    return found ?? { tokenId, logprob: this.#logprobAt(maxAlternatives) - tokenId / 100, rank };
  }

  #logprobAt(index: number): number {
    const first = 0.3 + 0.6 * (mix(this.#state, 4) / 2 ** 32);
    return index === 0 ? Math.log(first) : Math.log(1 - first) - index * Math.LN2;
  }
}

/** A vector of length 1 that is a pure function of the tokens. */
export function syntheticEmbedding(tokenIds: Uint32Array, dimensions: number): Float32Array {
  let state = 0x85ebca6b;
  for (const tokenId of tokenIds) state = mix(state, tokenId);
  const vector = new Float32Array(dimensions);
  let squares = 0;
  for (let i = 0; i < dimensions; i++) {
    const value = mix(state, i) / 2 ** 31 - 1;
    vector[i] = value;
    squares += value * value;
  }
  const scale = squares === 0 ? 0 : 1 / Math.sqrt(squares);
  return vector.map((value) => value * scale);
}

/** Unsigned 32 bits that depend on every bit of both (the finaliser of MurmurHash3). */
function mix(state: number, value: number): number {
  let h = Math.imul(state ^ Math.imul(value + 0x7f4a7c15, 0xcc9e2d51), 0x9e3779b1);
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
