import { type Data, type Dict, Float } from './value.ts';

/** Deepest nesting that is read; Python's own reader stops near 1000. */
const maxDepth = 500;

/**
 * Reads JSON as Python's json.loads does: keys keep their order (JavaScript would sort number-like ones), 1.0 stays a
 * float and large integers stay exact. Throws SyntaxError with the position.
 */
export function parseJson(text: string): Data {
  const reader = new Reader(text);
  const value = reader.value(0);
  reader.end();
  return value;
}

class Reader {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  value(depth: number): Data {
    if (depth > maxDepth) throw this.#error('nested too deeply');
    this.#space();
    const character = this.#text[this.#at];
    if (character === '{') return this.#object(depth);
    if (character === '[') return this.#array(depth);
    if (character === '"') return this.#string();
    for (const [word, value] of words) if (this.#take(word)) return value;
    return this.#number();
  }

  end(): void {
    this.#space();
    if (this.#at < this.#text.length) throw this.#error('unexpected text');
  }

  #object(depth: number): Dict {
    const map: Dict = new Map();
    this.#at++;
    this.#space();
    if (this.#take('}')) return map;
    for (;;) {
      this.#space();
      if (this.#text[this.#at] !== '"') throw this.#error('expected a key in double quotes');
      const key = this.#string();
      this.#space();
      if (!this.#take(':')) throw this.#error("expected ':'");
      map.set(key, this.value(depth + 1));
      this.#space();
      if (this.#take('}')) return map;
      if (!this.#take(',')) throw this.#error("expected ',' or '}'");
    }
  }

  #array(depth: number): Data[] {
    const list: Data[] = [];
    this.#at++;
    this.#space();
    if (this.#take(']')) return list;
    for (;;) {
      list.push(this.value(depth + 1));
      this.#space();
      if (this.#take(']')) return list;
      if (!this.#take(',')) throw this.#error("expected ',' or ']'");
    }
  }

  #string(): string {
    const from = this.#at;
    let end = from + 1;
    while (end < this.#text.length && this.#text[end] !== '"') end += this.#text[end] === '\\' ? 2 : 1;
    const raw = this.#text.slice(from, end + 1);
    try {
      const value: unknown = JSON.parse(raw);
      if (typeof value !== 'string') throw new SyntaxError('not a string');
      this.#at = end + 1;
      return value;
    } catch {
      throw this.#error('bad string');
    }
  }

  #number(): Data {
    numberPattern.lastIndex = this.#at;
    const match = numberPattern.exec(this.#text);
    if (match === null) throw this.#error('unexpected text');
    this.#at += match[0].length;
    if (match[1] !== undefined) return new Float(Number(match[0]));
    const value = Number(match[0]);
    return Number.isSafeInteger(value) ? value : BigInt(match[0]);
  }

  #take(word: string): boolean {
    if (!this.#text.startsWith(word, this.#at)) return false;
    this.#at += word.length;
    return true;
  }

  #space(): void {
    for (;;) {
      const unit = this.#text.charCodeAt(this.#at);
      if (unit !== 0x20 && unit !== 0x0a && unit !== 0x0d && unit !== 0x09) return;
      this.#at++;
    }
  }

  #error(what: string): SyntaxError {
    return new SyntaxError(`${what} at position ${this.#at}`);
  }
}

const words: readonly (readonly [string, Data])[] = [
  ['true', true],
  ['false', false],
  ['null', null],
  ['NaN', new Float(Number.NaN)],
  ['Infinity', new Float(Number.POSITIVE_INFINITY)],
  ['-Infinity', new Float(Number.NEGATIVE_INFINITY)],
];

/** Group 1 is set for floats. */
const numberPattern = /-?(?:0|[1-9]\d*)((?:\.\d+)(?:[eE][+-]?\d+)?|[eE][+-]?\d+)?/y;
