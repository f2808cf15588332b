import { type TokenTable, tokenBytes, tokenText } from './token-table.ts';
import { incompleteTail } from './utf8.ts';

export interface DetokenizerOptions {
  /** Whether special tokens show as text. */
  readonly specialTokens: boolean;
}

const lenient = new TextDecoder('utf-8', { ignoreBOM: true });

/**
 * Turns one sequence's token ids into text as they come. The pieces together are exactly the UTF-8 decoding of all
 * tokens' bytes: a character whose bytes are spread over tokens comes with its last byte, and bytes that are no UTF-8
 * become U+FFFD as a decoder makes them (one for each maximal subpart).
 */
export class Detokenizer {
  readonly #table: TokenTable;
  readonly #specialTokens: boolean;
  /** The bytes that begin a character which is not complete yet. */
  readonly #pending = new Uint8Array(3);
  #pendingLength = 0;
  #stripSpace: boolean;

  constructor(table: TokenTable, o: DetokenizerOptions) {
    this.#table = table;
    this.#specialTokens = o.specialTokens;
    this.#stripSpace = table.stripLeadingSpace;
  }

  /** Text that this token completes; often the token's own, empty while a character is incomplete. */
  push(tokenId: number): string {
    if (!this.#specialTokens && this.#table.special[tokenId] === 1) return '';
    if (this.#pendingLength === 0) {
      const text = tokenText(this.#table, tokenId);
      if (text !== null) return this.#stripSpace ? this.#stripped(text) : text;
    }
    const text = this.#append(tokenBytes(this.#table, tokenId));
    return this.#stripSpace ? this.#stripped(text) : text;
  }

  /** What is left when no token follows: U+FFFD for an incomplete character, else nothing. */
  end(): string {
    const rest = lenient.decode(this.#pending.subarray(0, this.#pendingLength));
    this.#pendingLength = 0;
    return rest;
  }

  #append(bytes: Uint8Array): string {
    const held = this.#pendingLength;
    const joined = new Uint8Array(held + bytes.length);
    joined.set(this.#pending.subarray(0, held));
    joined.set(bytes, held);
    const tail = incompleteTail(joined, joined.length);
    this.#pending.set(joined.subarray(joined.length - tail));
    this.#pendingLength = tail;
    return lenient.decode(joined.subarray(0, joined.length - tail));
  }

  #stripped(text: string): string {
    if (text === '') return '';
    this.#stripSpace = false;
    return text.startsWith(' ') ? text.slice(1) : text;
  }
}
