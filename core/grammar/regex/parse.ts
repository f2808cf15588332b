import {
  allCodePoints,
  type CodePoints,
  codePoints,
  codePointsOf,
  complement,
  union,
  without,
} from '../code-points.ts';
import { GrammarError } from '../error.ts';
import { emptyRegex, type Regex } from './ast.ts';

/** Most times that a quantifier may repeat; also llama.cpp's limit. */
const maxRepetitions = 2000;
/** Deepest nesting of groups. */
const maxDepth = 100;

/** One way to match at the top: where it is tied to the ends of the text. */
export interface AnchoredRegex {
  readonly regex: Regex;
  readonly start: boolean;
  readonly end: boolean;
}

/**
 * Reads a regular expression as ECMAScript and Python write them, as far as it is regular: no look-around, back references
 * or word boundaries; anchors only at the ends of the whole expression or of its alternatives. Throws GrammarError.
 */
export function parseRegex(source: string): readonly AnchoredRegex[] {
  const parser = new Parser(source);
  return parser.alternatives();
}

const digits = codePoints([[0x30, 0x39]]);
const words = union([
  digits,
  codePoints([
    [0x41, 0x5a],
    [0x5f, 0x5f],
    [0x61, 0x7a],
  ]),
]);
const spaces = codePointsOf(
  '\t\n\v\f\r \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000\ufeff',
);
const dot = without(allCodePoints, codePointsOf('\n\r\u2028\u2029'));
const classes: Readonly<Record<string, CodePoints>> = {
  d: digits,
  D: complement(digits),
  w: words,
  W: complement(words),
  s: spaces,
  S: complement(spaces),
};
const controls: Readonly<Record<string, number>> = { n: 10, r: 13, t: 9, f: 12, v: 11, 0: 0 };

class Parser {
  readonly #text: string;
  #at = 0;
  #depth = 0;

  constructor(text: string) {
    this.#text = text;
  }

  alternatives(): AnchoredRegex[] {
    const out: AnchoredRegex[] = [];
    do out.push(this.#anchored());
    while (this.#take('|'));
    if (this.#at < this.#text.length) throw this.#error('invalid', 'a parenthesis is closed that was not opened');
    return out;
  }

  #anchored(): AnchoredRegex {
    const start = this.#take('^');
    const regex = this.#sequence();
    return { regex, start, end: this.#take('$') };
  }

  #sequence(): Regex {
    const parts: Regex[] = [];
    while (this.#at < this.#text.length && !this.#isNext('|') && !this.#isNext(')') && !this.#isEnd()) {
      parts.push(this.#quantified(this.#atom()));
    }
    const [only] = parts;
    return only !== undefined && parts.length === 1 ? only : { kind: 'sequence', parts };
  }

  /** An anchor that ends an alternative. */
  #isEnd(): boolean {
    if (!this.#isNext('$')) return false;
    const after = this.#text[this.#at + 1];
    if (this.#depth === 0 && (after === undefined || after === '|')) return true;
    throw this.#error('unsupported', '$ may only stand at the end');
  }

  #atom(): Regex {
    const character = this.#next();
    switch (character) {
      case '(':
        return this.#group();
      case '[':
        return { kind: 'set', set: this.#class() };
      case '.':
        return { kind: 'set', set: dot };
      case '\\':
        return { kind: 'set', set: this.#escape(false) };
      case '^':
        throw this.#error('unsupported', '^ may only stand at the beginning');
      case '*':
      case '+':
      case '?':
        throw this.#error('invalid', `there is nothing that ${character} could repeat`);
      default:
        return { kind: 'set', set: codePointsOf(character) };
    }
  }

  #group(): Regex {
    this.#depth++;
    if (this.#depth > maxDepth) throw this.#error('unsupported', 'groups are nested too deep');
    if (this.#take('?')) this.#groupKind();
    const options: Regex[] = [];
    do options.push(this.#sequence());
    while (this.#take('|'));
    if (!this.#take(')')) throw this.#error('invalid', 'a parenthesis is not closed');
    this.#depth--;
    const [only] = options;
    return only !== undefined && options.length === 1 ? only : { kind: 'choice', options };
  }

  #groupKind(): void {
    if (this.#take(':')) return;
    const name = /^P?<[A-Za-z_$][\w$]*>/.exec(this.#text.slice(this.#at, this.#at + 200));
    if (name === null) throw this.#error('unsupported', 'look-around, flags and conditions are no part of it');
    this.#at += name[0].length;
  }

  #quantified(of: Regex): Regex {
    const bounds = this.#quantifier();
    if (bounds === null) return of;
    // How eagerly a quantifier matches does not change what matches as a whole.
    if (!this.#take('?') && this.#isNext('+'))
      throw this.#error('unsupported', 'possessive quantifiers are no part of it');
    if (this.#isNext('*') || this.#isNext('+') || this.#isNext('?'))
      throw this.#error('invalid', 'a quantifier follows another');
    return { kind: 'repeat', of, ...bounds };
  }

  #quantifier(): { min: number; max: number | null } | null {
    if (this.#take('*')) return { min: 0, max: null };
    if (this.#take('+')) return { min: 1, max: null };
    if (this.#take('?')) return { min: 0, max: 1 };
    const match = /^\{(\d{1,6})(?:(,)(\d{1,6})?)?\}/.exec(this.#text.slice(this.#at, this.#at + 20));
    if (match === null) return null;
    this.#at += match[0].length;
    const min = Number(match[1]);
    const max = match[2] === undefined ? min : match[3] === undefined ? null : Number(match[3]);
    if (max !== null && max < min) throw this.#error('invalid', 'the bounds of a quantifier are out of order');
    if (Math.max(min, max ?? 0) > maxRepetitions)
      throw this.#error('unsupported', `at most ${maxRepetitions} repetitions can be kept to`);
    return { min, max };
  }

  #class(): CodePoints {
    const negated = this.#take('^');
    const sets: CodePoints[] = [];
    while (!this.#take(']')) {
      const from = this.#classAtom();
      const to = this.#isNext('-') && this.#text[this.#at + 1] !== ']' ? this.#rangeEnd() : null;
      if (to === null) sets.push(from);
      else sets.push(this.#range(from, to));
    }
    const set = union(sets);
    return negated ? complement(set) : set;
  }

  #rangeEnd(): CodePoints {
    this.#at++;
    return this.#classAtom();
  }

  #range(from: CodePoints, to: CodePoints): CodePoints {
    const first = single(from);
    const end = single(to);
    if (first === null || end === null) return union([from, codePointsOf('-'), to]);
    if (end < first) throw this.#error('invalid', 'a range of characters is out of order');
    return codePoints([[first, end]]);
  }

  #classAtom(): CodePoints {
    const character = this.#next();
    return character === '\\' ? this.#escape(true) : codePointsOf(character);
  }

  #escape(inClass: boolean): CodePoints {
    const character = this.#next();
    const set = classes[character];
    if (set !== undefined) return set;
    if (inClass && character === 'b') return codePoints([[8, 8]]);
    const control = controls[character];
    if (control !== undefined && !/[1-9]/.test(this.#text[this.#at] ?? '')) return codePoints([[control, control]]);
    if (character === 'x') return this.#hex(/^[0-9a-fA-F]{2}/);
    if (character === 'u') return this.#hex(/^(?:[0-9a-fA-F]{4}|\{[0-9a-fA-F]{1,6}\})/);
    if (character === 'c') return this.#controlLetter();
    if (/[A-Za-z0-9]/.test(character)) throw this.#error('unsupported', `\\${character} is no part of it`);
    return codePointsOf(character);
  }

  #hex(form: RegExp): CodePoints {
    const match = form.exec(this.#text.slice(this.#at, this.#at + 8));
    if (match === null) throw this.#error('invalid', 'a code point is not hexadecimal');
    this.#at += match[0].length;
    const code = Number.parseInt(match[0].replace(/[{}]/g, ''), 16);
    const low =
      code >= 0xd800 && code <= 0xdbff
        ? /^\\u([dD][c-fC-F][0-9a-fA-F]{2})/.exec(this.#text.slice(this.#at, this.#at + 6))
        : null;
    if (low?.[1] === undefined) return codePoints([[code, code]]);
    this.#at += low[0].length;
    return codePointsOf(String.fromCharCode(code, Number.parseInt(low[1], 16)));
  }

  #controlLetter(): CodePoints {
    const letter = this.#next();
    if (!/[A-Za-z]/.test(letter)) throw this.#error('invalid', '\\c needs a letter');
    const code = letter.charCodeAt(0) % 32;
    return codePoints([[code, code]]);
  }

  #next(): string {
    const code = this.#text.codePointAt(this.#at);
    if (code === undefined) throw this.#error('invalid', 'it ends too early');
    const character = String.fromCodePoint(code);
    this.#at += character.length;
    return character;
  }

  #isNext(character: string): boolean {
    return this.#text[this.#at] === character;
  }

  #take(character: string): boolean {
    if (!this.#isNext(character)) return false;
    this.#at++;
    return true;
  }

  #error(kind: 'invalid' | 'unsupported', why: string): GrammarError {
    return new GrammarError(kind, '', `The regular expression cannot be used, at character ${this.#at}: ${why}.`);
  }
}

function single(set: CodePoints): number | null {
  const [range] = set;
  return set.length === 1 && range !== undefined && range[0] === range[1] ? range[0] : null;
}

/** The whole text must match: what the ends are tied to says nothing more. */
export function wholeRegex(source: string): Regex {
  const options = parseRegex(source).map(({ regex }) => regex);
  return options.length === 1 ? (options[0] ?? emptyRegex) : { kind: 'choice', options };
}

/** Some part of the text must match, as JSON Schema's `pattern` means it. */
export function searchRegex(source: string): Regex {
  const anything: Regex = { kind: 'repeat', of: { kind: 'set', set: allCodePoints }, min: 0, max: null };
  const options = parseRegex(source).map(({ regex, start, end }): Regex => {
    if (start && end) return regex;
    return { kind: 'sequence', parts: [...(start ? [] : [anything]), regex, ...(end ? [] : [anything])] };
  });
  return options.length === 1 ? (options[0] ?? emptyRegex) : { kind: 'choice', options };
}
