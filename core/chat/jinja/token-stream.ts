import { TemplateError } from '../errors.ts';
import type { Token, TokenType } from './lexer.ts';

/** Tokens with one place to read from. */
export class TokenStream {
  readonly #tokens: readonly Token[];
  #at = 0;

  constructor(tokens: readonly Token[]) {
    this.#tokens = tokens;
  }

  get ended(): boolean {
    return this.#at >= this.#tokens.length;
  }

  peek(ahead = 0): Token | undefined {
    return this.#tokens[this.#at + ahead];
  }

  is(type: TokenType, value?: string, ahead = 0): boolean {
    const token = this.peek(ahead);
    return token !== undefined && token.type === type && (value === undefined || token.value === value);
  }

  next(): Token {
    const token = this.peek();
    if (token === undefined) throw this.error('unexpected end of template');
    this.#at++;
    return token;
  }

  /** Takes the token if it is that one. */
  skip(type: TokenType, value?: string): boolean {
    if (!this.is(type, value)) return false;
    this.#at++;
    return true;
  }

  expect(type: TokenType, value?: string): Token {
    if (this.is(type, value)) return this.next();
    const found = this.peek();
    const wanted = value ?? type;
    throw this.error(`expected ${wanted}, got ${found === undefined ? 'the end' : found.value || found.type}`);
  }

  error(what: string): TemplateError {
    const line = (this.peek() ?? this.#tokens.at(-1))?.line ?? 1;
    return new TemplateError('syntax', `${what} (line ${line})`);
  }
}
