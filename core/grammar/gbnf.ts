import type { CodePoints } from './code-points.ts';
import { GrammarError } from './error.ts';

/** Most rules of one grammar: bounds what a request can make an engine parse. */
const maxRules = 8000;
/** Most characters of one grammar. */
const maxLength = 4 << 20;

/** Ten levels of two blanks, as llama.cpp's own grammars have them. */
export const defaultJsonIndent = 20;

/** What an engine leaves open in constraints. */
export interface GrammarOptions {
  /** Most blanks behind a line break between values of JSON; 0: no line breaks. Default 20. */
  readonly jsonIndent?: number;
  /** Most work for one grammar: schemas looked at count 10, shapes compared 1. Bounds the time that a request can take. */
  readonly maxWork?: number;
}

const defaultMaxWork = 500_000;

/** The rules of a grammar in GBNF, llama.cpp's form of BNF. Expressions are strings; rules are made where one is used twice. */
export class RuleSet {
  readonly #rules = new Map<string, string>();
  readonly #names = new Map<string, string>();
  /** Most blanks behind a line break between values of JSON; 0: no line breaks. */
  readonly jsonIndent: number;
  #length = 0;
  #workLeft: number;
  #next = 0;

  constructor({ jsonIndent = defaultJsonIndent, maxWork = defaultMaxWork }: GrammarOptions = {}) {
    this.jsonIndent = jsonIndent;
    this.#workLeft = maxWork;
  }

  /** Takes work from what is left for this grammar. */
  spend(work: number): void {
    this.#workLeft -= work;
    if (this.#workLeft < 0) throw new GrammarError('unsupported', '#', 'The schema combines into too much.');
  }

  /** Adds a rule with a name of its own; the same body gets the same rule. */
  add(body: string): string {
    const known = this.#names.get(body);
    if (known !== undefined) return known;
    const name = this.reserve();
    this.define(name, body);
    this.#names.set(body, name);
    return name;
  }

  /** A name whose body comes later, so that a rule may refer to itself. */
  reserve(): string {
    this.#next++;
    return `r${this.#next}`;
  }

  define(name: string, body: string): void {
    this.#length += name.length + body.length;
    if (this.#rules.size >= maxRules || this.#length > maxLength) {
      throw new GrammarError('unsupported', '', 'The constraint is too large.');
    }
    this.#rules.set(name, body);
  }

  has(name: string): boolean {
    return this.#rules.has(name);
  }

  /** The grammar whose whole language is `root`. */
  grammar(root: string): string {
    const rules = [...this.#rules].map(([name, body]) => `${name} ::= ${body}`);
    return [`root ::= ${root}`, ...rules].join('\n');
  }
}

/** A literal. */
export function quote(text: string): string {
  let out = '';
  for (const character of text) out += escaped(character.codePointAt(0) ?? 0, '"\\');
  return `"${out}"`;
}

/** One character of a set; null: the set is empty. */
export function characterClass(set: CodePoints): string | null {
  if (set.length === 0) return null;
  const ranges = set.map(([from, to]) => {
    const first = escaped(from, classSpecials);
    return from === to ? first : `${first}-${escaped(to, classSpecials)}`;
  });
  return `[${ranges.join('')}]`;
}

const classSpecials = '\\]^-"';

/** Always four or eight digits: some readers of GBNF take any number of them after `\\x`. */
function escaped(code: number, specials: string): string {
  const character = String.fromCodePoint(code);
  if (character === '\\') return '\\\\';
  // A hyphen or caret has no escape of its own inside a class.
  if (code >= 0x20 && code < 0x7f && !specials.includes(character)) return character;
  return code <= 0xffff ? `\\u${code.toString(16).padStart(4, '0')}` : `\\U${code.toString(16).padStart(8, '0')}`;
}

/** One of several expressions. */
export function oneOf(expressions: readonly string[]): string {
  const different = [...new Set(expressions)];
  return different.length === 1 ? (different[0] ?? '') : `(${different.join(' | ')})`;
}

/** An expression `min` to `max` times; null: without bound. */
export function repeat(expression: string, min: number, max: number | null): string {
  if (max === 0) return '""';
  if (min === 1 && max === 1) return expression;
  const one = `(${expression})`;
  if (max === null) return min === 0 ? `${one}*` : min === 1 ? `${one}+` : `${one}{${min},}`;
  if (min === 0 && max === 1) return `${one}?`;
  return min === max ? `${one}{${min}}` : `${one}{${min},${max}}`;
}
