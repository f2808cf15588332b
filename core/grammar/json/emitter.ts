import { GrammarError } from '../error.ts';
import { oneOf, quote, type RuleSet } from '../gbnf.ts';
import { arrayGbnf } from './emit-array.ts';
import { numberGbnf } from './emit-number.ts';
import { objectGbnf } from './emit-object.ts';
import { stringGbnf } from './emit-string.ts';
import { Expander } from './expander.ts';
import type { Notation } from './notation.ts';
import { jsonNotation } from './rules.ts';
import { type All, type Expansion, isObject, type Shape } from './shapes.ts';

/** Deepest nesting of values that are not the same schema again. */
const maxDepth = 200;

/** Writes the grammar of the values that schemas of one document allow. */
export class Emitter {
  readonly rules: RuleSet;
  readonly notation: Notation;
  readonly expander: Expander;
  #depth = 0;
  readonly #ids = new Map<unknown, number>();
  readonly #known = new Map<string, string>();
  /** Rules that came to nothing: their schemas allow no value. */
  readonly #empty = new Set<string>();

  constructor(root: unknown, rules: RuleSet, notation: Notation = jsonNotation(rules)) {
    this.rules = rules;
    this.notation = notation;
    this.expander = new Expander(root, (work) => rules.spend(work));
  }

  /** A value that all of the schemas allow and the white space behind it, as an expression; null: there is none. */
  value(all: All): string | null {
    const value = this.bare(all);
    return value === null ? null : `${value} ${this.notation.space}`;
  }

  /** The same without white space behind it. */
  bare(all: All): string | null {
    this.#depth++;
    if (this.#depth > maxDepth) throw new GrammarError('unsupported', '#', 'The schema is nested too deep.');
    const expression = this.#value(all);
    this.#depth--;
    return expression;
  }

  #value(all: All): string | null {
    const places = all
      .map((place) => this.expander.target(place))
      .filter(({ schema }) => schema !== true && !isBare(schema));
    if (places.length === 0) return this.notation.value;
    const key = [...new Set(places.map(({ schema }) => this.#idOf(schema)))].sort((a, b) => a - b).join(' ');
    const known = this.#known.get(key);
    if (known !== undefined) return this.#empty.has(known) ? null : known;
    // The name is known before the body, so that a schema may hold itself.
    const name = this.rules.reserve();
    this.#known.set(key, name);
    const body = this.expression(this.expander.all(places), places[0]?.at ?? '#');
    if (body === null) {
      this.#empty.add(name);
      // Schemas inside of it may have referred to it; nothing ever is a value of theirs.
      this.rules.define(name, `${name}x`);
      this.rules.define(`${name}x`, quote('\u{10ffff}'));
      return null;
    }
    this.rules.define(name, body);
    return name;
  }

  #idOf(schema: unknown): number {
    let id = this.#ids.get(schema);
    if (id === undefined) {
      id = this.#ids.size;
      this.#ids.set(schema, id);
    }
    return id;
  }

  /** A value that the schema at `at` allows by these shapes; null: there is none. */
  expression(expansion: Expansion, at: string): string | null {
    if (expansion === 'any') return this.notation.value;
    const options = expansion.map((shape) => this.#shape(shape, at)).filter((option) => option !== null);
    return options.length === 0 ? null : oneOf(options);
  }

  #shape(shape: Shape, at: string): string | null {
    switch (shape.type) {
      case 'literal':
        return this.notation.literal(shape.value, at);
      case 'null':
        return this.notation.null;
      case 'boolean':
        return this.notation.boolean;
      case 'number':
        return numberGbnf(shape, this);
      case 'string':
        return stringGbnf(shape, this.notation);
      case 'array':
        return arrayGbnf(shape, this);
      case 'object':
        return objectGbnf(shape, this);
    }
  }
}

function isBare(schema: unknown): boolean {
  return isObject(schema) && Object.keys(schema).length === 0;
}

/** Models leave a line free between their reasoning and an answer. */
const leadingSpace = '"" | " " | "\\n"{1,2}';

/**
 * Adds the rules of a JSON Schema to a grammar; the expression of its values, and white space in front of them. Behind
 * them is none: a model that is done must not be able to go on with it.
 */
export function addJsonSchema(rules: RuleSet, schema: unknown): string {
  const emitter = new Emitter(schema, rules);
  const value = emitter.bare([{ schema, at: '#' }]);
  if (value === null) throw new GrammarError('invalid', '#', 'The schema allows no value.');
  return `${rules.add(leadingSpace)} ${value}`;
}
