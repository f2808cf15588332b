/** Where a text stops being JSON. */
export interface JsonError {
  readonly message: string;
  /** In characters from 0. */
  readonly position: number;
  readonly line: number;
  readonly column: number;
}

const numberPattern = /-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?/y;
const escapePattern = /\\(?:["\\/bfnrt]|u[\da-fA-F]{4})/y;
const spacePattern = /[ \t\n\r]*/y;

type Expectation = 'value' | 'first-value' | 'key' | 'first-key' | 'colon' | 'comma' | 'end';

/** A scanner that keeps its own stack, so that no depth of nesting can overflow the call stack. */
class Scanner {
  readonly #text: string;
  readonly #stack: ('object' | 'array')[] = [];
  #expected: Expectation = 'value';
  position = 0;

  constructor(text: string) {
    this.#text = text;
  }

  /** Advances to the first fault and says what is wrong there; null if there is none. */
  run(): string | null {
    for (;;) {
      this.#match(spacePattern);
      if (this.position >= this.#text.length) return this.#expected === 'end' ? null : 'unexpected end of the text';
      const fault = this.#step(this.#text[this.position] ?? '');
      if (fault !== null) return fault;
    }
  }

  #step(next: string): string | null {
    switch (this.#expected) {
      case 'value':
        return this.#value(next);
      case 'first-value':
        return next === ']' ? this.#close() : this.#value(next);
      case 'first-key':
        return next === '}' ? this.#close() : this.#key(next);
      case 'key':
        return this.#key(next);
      case 'colon':
        if (next !== ':') return `expected ":" but found ${show(next)}`;
        this.position += 1;
        this.#expected = 'value';
        return null;
      case 'comma':
        return this.#comma(next);
      case 'end':
        return `unexpected ${show(next)} after the end of the value`;
    }
  }

  #value(next: string): string | null {
    if (next === '{' || next === '[') {
      this.position += 1;
      this.#stack.push(next === '{' ? 'object' : 'array');
      this.#expected = next === '{' ? 'first-key' : 'first-value';
      return null;
    }
    if (next === '"') return this.#string() ?? this.#done();
    for (const word of ['true', 'false', 'null']) {
      if (!this.#text.startsWith(word, this.position)) continue;
      this.position += word.length;
      return this.#done();
    }
    return this.#match(numberPattern) ? this.#done() : `expected a value but found ${show(next)}`;
  }

  #key(next: string): string | null {
    if (next !== '"') return `expected a property name in double quotes but found ${show(next)}`;
    const fault = this.#string();
    this.#expected = 'colon';
    return fault;
  }

  #comma(next: string): string | null {
    const inObject = this.#stack.at(-1) === 'object';
    if (next === ',') {
      this.position += 1;
      this.#expected = inObject ? 'key' : 'value';
      return null;
    }
    if (next === (inObject ? '}' : ']')) return this.#close();
    return `expected "," or "${inObject ? '}' : ']'}" but found ${show(next)}`;
  }

  #close(): string | null {
    this.position += 1;
    this.#stack.pop();
    return this.#done();
  }

  #done(): null {
    this.#expected = this.#stack.length === 0 ? 'end' : 'comma';
    return null;
  }

  /** Moves behind the string, or to the character that spoils it. A loop, because strings may have megabytes. */
  #string(): string | null {
    for (this.position += 1; this.position < this.#text.length; this.position++) {
      const char = this.#text[this.position] ?? '';
      if (char === '"') {
        this.position += 1;
        return null;
      }
      if (char < ' ') return `unescaped control character ${show(char)} in a string`;
      if (char !== '\\') continue;
      if (!this.#match(escapePattern)) return 'bad escape in a string';
      this.position -= 1;
    }
    return 'unterminated string';
  }

  #match(pattern: RegExp): boolean {
    pattern.lastIndex = this.position;
    if (!pattern.test(this.#text)) return false;
    this.position = pattern.lastIndex;
    return true;
  }
}

function show(char: string): string {
  return char < ' ' ? `U+${char.charCodeAt(0).toString(16).padStart(4, '0').toUpperCase()}` : JSON.stringify(char);
}

/** Finds the first fault of a text that JSON.parse refused. */
export function findJsonError(text: string): JsonError {
  const scanner = new Scanner(text);
  const message = scanner.run() ?? 'it cannot be read';
  const before = text.slice(0, scanner.position);
  const line = before.split('\n').length;
  return { message, position: scanner.position, line, column: scanner.position - before.lastIndexOf('\n') };
}
