import type { SpecialTokenTexts } from '#core/chat/render.ts';
import type { AddedToken, VocabularyData } from '#core/tokens/tokenizer-json.ts';
import type { Encoder } from './encoder.ts';

/** A loaded vocabulary: text to ids, ids to bytes, and what is special. */
export interface Vocabulary {
  readonly encoder: Encoder;
  readonly data: VocabularyData;
  readonly addedTokens: readonly AddedToken[];
  readonly specialTexts: SpecialTokenTexts;
  /** Ids put before and after a text when special tokens are asked for. */
  readonly prefixIds: Uint32Array;
  readonly suffixIds: Uint32Array;
  readonly bosTokenId: number | null;
  /** Ids that end generation, as the vocabulary itself knows them. */
  readonly eosTokenIds: readonly number[];
  /** SHA-256 of what it was made from; the card's digest is preferred. */
  readonly digest: Uint8Array;
  /** Chat template that came with the vocabulary; empty: none. */
  readonly chatTemplate: string;
  close(): void;
}

export function vocabularySize(vocabulary: Vocabulary): number {
  return vocabulary.data.offsets.length - 1;
}

/** Text of one token of a vocabulary; empty for null. */
export function textOfToken(data: VocabularyData, tokenId: number | null | undefined): string {
  if (tokenId === null || tokenId === undefined) return '';
  return new TextDecoder().decode(data.data.subarray(data.offsets[tokenId], data.offsets[tokenId + 1]));
}
