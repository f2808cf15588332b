import { TemplateError } from '../errors.ts';
import { isSpace, pythonSpace, stripEnd, unescapeString } from './python-string.ts';

export type TokenType =
  | 'text'
  | 'block-begin'
  | 'block-end'
  | 'print-begin'
  | 'print-end'
  | 'name'
  | 'string'
  | 'integer'
  | 'float'
  | 'operator';

export interface Token {
  readonly type: TokenType;
  /** The text of text and names, the decoded value of strings, the digits of numbers, the sign of operators. */
  readonly value: string;
  readonly line: number;
}

const ws = `[${pythonSpace}]`;
const begin = new RegExp(`\\{%([-+]?)${ws}*raw${ws}*(?:(-)%\\}${ws}*|%\\})|\\{([%{#])([-+]?)`, 'g');
const rawEnd = new RegExp(`\\{%([-+]?)${ws}*endraw${ws}*(?:\\+%\\}|-%\\}${ws}*|%\\}\\n?)`, 'g');
const commentEnd = new RegExp(`\\+#\\}|-#\\}${ws}*|#\\}\\n?`, 'g');
const blockEnd = new RegExp(`\\+%\\}|-%\\}${ws}*|%\\}\\n?`, 'y');
const printEnd = new RegExp(`-\\}\\}${ws}*|\\}\\}`, 'y');
const space = new RegExp(`${ws}+`, 'y');
const float = /(?:\d+_)*\d+(?:(?:\.(?:\d+_)*\d+)?[eE][+-]?(?:\d+_)*\d+|\.(?:\d+_)*\d+)/y;
const integer = /0[bB](?:_?[01])+|0[oO](?:_?[0-7])+|0[xX](?:_?[\da-fA-F])+|[1-9](?:_?\d)*|0(?:_?0)*/y;
const name = /[\p{L}\p{Nl}_][\p{L}\p{Nl}\p{Mn}\p{Mc}\p{Nd}\p{Pc}_]*/uy;
const string = /'([^'\\]*(?:\\[\s\S][^'\\]*)*)'|"([^"\\]*(?:\\[\s\S][^"\\]*)*)"/y;
const literals: readonly (readonly [TokenType, RegExp])[] = [
  ['float', float],
  ['integer', integer],
  ['name', name],
  ['string', string],
];
const operator = /\/\/|\*\*|==|!=|<=|>=|[-+*/%~<>=()[\]{}|.:,]/y;
const closing: Readonly<Record<string, string>> = { '(': ')', '[': ']', '{': '}' };

/**
 * Cuts a template into tokens as Jinja 3.1 does with trim_blocks and lstrip_blocks on and keep_trailing_newline off, which
 * is how chat templates are written.
 */
export function tokenize(template: string): Token[] {
  return new Lexer(normalizeNewlines(template)).run();
}

function normalizeNewlines(template: string): string {
  const lines = template.replace(/\r\n?/g, '\n');
  return lines.endsWith('\n') ? lines.slice(0, -1) : lines;
}

class Lexer {
  readonly #source: string;
  readonly #tokens: Token[] = [];
  #at = 0;
  #line = 1;
  /** Whether only whitespace can stand between the line's start and here. */
  #lineStarting = true;

  constructor(source: string) {
    this.#source = source;
  }

  run(): Token[] {
    while (this.#at < this.#source.length) this.#text();
    return this.#tokens;
  }

  /** Text up to the next tag, and the tag. */
  #text(): void {
    begin.lastIndex = this.#at;
    const match = begin.exec(this.#source);
    if (match === null) {
      this.#push('text', this.#source.slice(this.#at));
      this.#at = this.#source.length;
      return;
    }
    const [tag, rawMark, , kind, mark] = match;
    const before = this.#source.slice(this.#at, match.index);
    this.#pushText(before, rawMark ?? mark ?? '', kind === '{');
    this.#move(match.index + tag.length);
    if (kind === undefined) this.#raw();
    else if (kind === '#') this.#comment();
    else this.#expression(kind === '{' ? 'print' : 'block');
  }

  #pushText(text: string, mark: string, isPrint: boolean): void {
    this.#push('text', this.#strippedBefore(text, mark, isPrint));
    this.#line += count(text);
  }

  /** `-` takes all whitespace before a tag; lstrip_blocks that between the line's start and a tag that prints nothing. */
  #strippedBefore(text: string, mark: string, isPrint: boolean): string {
    if (mark === '-') return stripEnd(text);
    if (mark === '+' || isPrint) return text;
    const from = text.lastIndexOf('\n') + 1;
    if (from === 0 && !this.#lineStarting) return text;
    return isSpace(text.slice(from)) ? text.slice(0, from) : text;
  }

  #raw(): void {
    rawEnd.lastIndex = this.#at;
    const match = rawEnd.exec(this.#source);
    if (match === null) throw this.#error('Missing end of raw directive');
    this.#pushText(this.#source.slice(this.#at, match.index), match[1] ?? '', false);
    this.#move(match.index + match[0].length);
  }

  #comment(): void {
    commentEnd.lastIndex = this.#at;
    const match = commentEnd.exec(this.#source);
    if (match === null) throw this.#error('Missing end of comment tag');
    this.#line += count(this.#source.slice(this.#at, match.index));
    this.#move(match.index + match[0].length);
  }

  #expression(kind: 'print' | 'block'): void {
    const end = kind === 'print' ? printEnd : blockEnd;
    const open: string[] = [];
    this.#push(`${kind}-begin`, '');
    while (this.#at < this.#source.length) {
      if (open.length === 0) {
        const closed = this.#take(end);
        if (closed !== null) {
          this.#push(`${kind}-end`, '');
          return;
        }
      }
      if (this.#take(space) === null) this.#token(open);
    }
    throw this.#error(`unexpected end of template in a ${kind === 'print' ? '{{' : '{%'} tag`);
  }

  #token(open: string[]): void {
    for (const [type, pattern] of literals) {
      const literal = this.#take(pattern);
      if (literal === null) continue;
      this.#push(type, literalValue(type, literal));
      return;
    }
    const sign = this.#take(operator);
    if (sign === null) throw this.#error(`unexpected character ${JSON.stringify(this.#source[this.#at])}`);
    this.#balance(sign, open);
    this.#push('operator', sign);
  }

  #balance(sign: string, open: string[]): void {
    const closes = closing[sign];
    if (closes !== undefined) open.push(closes);
    else if (')]}'.includes(sign)) {
      const expected = open.pop();
      if (expected !== sign) throw this.#error(`unexpected '${sign}'`);
    }
  }

  #take(pattern: RegExp): string | null {
    pattern.lastIndex = this.#at;
    const text = pattern.exec(this.#source)?.[0];
    if (text === undefined) return null;
    this.#move(this.#at + text.length);
    this.#line += count(text);
    return text;
  }

  #move(to: number): void {
    this.#lineStarting = this.#source[to - 1] === '\n';
    this.#at = to;
  }

  #push(type: TokenType, value: string): void {
    if (type !== 'text' || value !== '') this.#tokens.push({ type, value, line: this.#line });
  }

  #error(what: string): TemplateError {
    return new TemplateError('syntax', `${what} (line ${this.#line})`);
  }
}

function literalValue(type: TokenType, literal: string): string {
  if (type === 'string') return unescapeString(literal.slice(1, -1));
  return type === 'name' ? literal : literal.replaceAll('_', '');
}

function count(text: string): number {
  let lines = 0;
  for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', at + 1)) lines++;
  return lines;
}
