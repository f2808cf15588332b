import { GrammarError } from '../error.ts';
import { admits } from './admits.ts';
import { disjoint } from './disjoint.ts';
import { checkKeywords, constrains } from './keywords.ts';
import { meet } from './meet.ts';
import { ownShapes } from './own-shapes.ts';
import { type All, type Expansion, isObject, type Place, type Shape } from './shapes.ts';

type Schema = Readonly<Record<string, unknown>>;

/** Longest chain of references and combinations on the way to what a schema means. */
const maxDepth = 64;
/** What looking at one schema counts. */
const schemaWork = 10;

/** Turns the schemas of one document into the shapes of values that they allow. */
export class Expander {
  readonly #root: unknown;
  readonly #spend: (work: number) => void;

  /** `spend`: is told of schemas looked at and shapes compared, and may throw. Default: they are not counted. */
  constructor(root: unknown, spend: (work: number) => void = () => {}) {
    this.#root = root;
    this.#spend = spend;
  }

  /** What all of the schemas allow together. */
  readonly all = (places: All, depth = 0): Expansion => {
    let out: Expansion = 'any';
    for (const place of places) out = this.#meet(out, this.#one(place, depth));
    return out;
  };

  /** Whether all of the schemas allow a value. */
  readonly allows = (places: All, value: unknown): boolean => {
    const shapes = this.all(places);
    return shapes === 'any' || shapes.some((shape) => this.admits(shape, value));
  };

  readonly admits = (shape: Shape, value: unknown): boolean => admits(shape, value, this.allows);

  /** The schema itself, or where its reference leads if it is nothing else. */
  target(place: Place): Place {
    let at = place;
    for (let hops = 0; hops <= maxDepth; hops++) {
      const { schema } = at;
      if (!isObject(schema) || typeof schema['$ref'] !== 'string') return at;
      if (Object.keys(schema).some((keyword) => keyword !== '$ref' && constrains(keyword))) return at;
      checkKeywords(schema, at.at);
      at = this.#resolve(schema['$ref'], at.at);
    }
    throw endless(place.at);
  }

  #meet(a: Expansion, b: Expansion): Expansion {
    return meet(a, b, this.admits, this.#spend);
  }

  #one({ schema, at }: Place, depth: number): Expansion {
    if (depth > maxDepth) throw endless(at);
    this.#spend(schemaWork);
    if (schema === true) return 'any';
    if (schema === false) return [];
    if (!isObject(schema))
      throw new GrammarError('invalid', at, `The schema at ${at} must be an object, true or false.`);
    checkKeywords(schema, at);
    if (typeof schema['$id'] === 'string' && at !== '#') {
      throw new GrammarError(
        'unsupported',
        `${at}/$id`,
        `The schema at ${at} has an $id of its own, which is not supported.`,
      );
    }
    let out = this.#values(schema, at, ownShapes(schema, at));
    if ('$ref' in schema) out = this.#meet(out, this.#reference(schema['$ref'], at, depth));
    for (const [index, part] of this.#list(schema, 'allOf', at).entries()) {
      out = this.#meet(out, this.#one({ schema: part, at: `${at}/allOf/${index}` }, depth + 1));
    }
    if ('anyOf' in schema) out = this.#meet(out, this.#union(schema, 'anyOf', at, depth));
    if ('oneOf' in schema) out = this.#meet(out, this.#union(schema, 'oneOf', at, depth));
    if ('not' in schema) out = this.#without(out, schema['not'], at);
    return unevaluated(out, schema, at);
  }

  /** `enum` and `const`, as far as the other keywords allow their values. */
  #values(schema: Schema, at: string, own: Expansion): Expansion {
    let out = own;
    if ('enum' in schema) {
      const values = this.#list(schema, 'enum', at);
      if (values.length === 0)
        throw new GrammarError('invalid', `${at}/enum`, `The enum at ${at} must have at least one value.`);
      out = this.#meet(
        values.map((value) => ({ type: 'literal' as const, value })),
        out,
      );
    }
    if ('const' in schema) out = this.#meet([{ type: 'literal', value: schema['const'] }], out);
    return out;
  }

  #reference(reference: unknown, at: string, depth: number): Expansion {
    if (typeof reference !== 'string')
      throw new GrammarError('invalid', `${at}/$ref`, `The $ref at ${at} must be text.`);
    return this.#one(this.#resolve(reference, at), depth + 1);
  }

  #resolve(reference: string, at: string): Place {
    const path = `${at}/$ref`;
    if (!/^#(\/|$)/.test(reference)) {
      throw new GrammarError(
        'unsupported',
        path,
        `The $ref ${JSON.stringify(reference)} at ${at} leaves the schema, which is not supported.`,
      );
    }
    let target = this.#root;
    for (const part of reference.split('/').slice(1)) target = memberOf(target, decoded(part));
    if (target === undefined)
      throw new GrammarError('invalid', path, `The $ref ${JSON.stringify(reference)} at ${at} points to nothing.`);
    return { schema: target, at: reference };
  }

  #union(schema: Schema, keyword: 'anyOf' | 'oneOf', at: string, depth: number): Expansion {
    const parts = this.#list(schema, keyword, at);
    if (parts.length === 0)
      throw new GrammarError('invalid', `${at}/${keyword}`, `${keyword} at ${at} must have at least one schema.`);
    const expansions = parts.map((part, index) =>
      this.#one({ schema: part, at: `${at}/${keyword}/${index}` }, depth + 1),
    );
    if (keyword === 'oneOf') this.#checkDisjoint(expansions, at);
    return expansions.includes('any')
      ? 'any'
      : expansions.flatMap((expansion) => (expansion === 'any' ? [] : expansion));
  }

  /** Where two alternatives may both hold, `oneOf` would need the difference of grammars. */
  #checkDisjoint(expansions: readonly Expansion[], at: string): void {
    for (const [index, left] of expansions.entries()) {
      for (const [offset, right] of expansions.slice(index + 1).entries()) {
        this.#spend(left === 'any' || right === 'any' ? 1 : left.length * right.length);
        if (disjoint(left, right, { all: this.all, admits: this.admits })) continue;
        const message = `The alternatives ${index} and ${index + 1 + offset} of oneOf at ${at} may both hold, which is not supported; use anyOf, or a property that tells them apart.`;
        throw new GrammarError('unsupported', `${at}/oneOf`, message);
      }
    }
  }

  /** Only literals can be taken out, and types that are wholly excluded. */
  #without(from: Expansion, not: unknown, at: string): Expansion {
    const excluded = this.#one({ schema: not, at: `${at}/not` }, 1);
    if (excluded === 'any') return [];
    if (excluded.length === 0) return from;
    if (from !== 'any' && from.every((shape) => shape.type === 'literal')) {
      return from.filter((shape) => !excluded.some((other) => this.admits(other, shape.value)));
    }
    if (from !== 'any' && disjoint(from, excluded, { all: this.all, admits: this.admits })) return from;
    throw new GrammarError('unsupported', `${at}/not`, `The keyword "not" at ${at} is not supported here.`);
  }

  #list(schema: Schema, keyword: string, at: string): readonly unknown[] {
    const value = schema[keyword] ?? [];
    if (Array.isArray(value)) return value;
    throw new GrammarError('invalid', `${at}/${keyword}`, `${keyword} at ${at} must be a list.`);
  }
}

/** What no other keyword spoke of: as the grammar writes no properties or items beyond those that are named, only open ones are left. */
function unevaluated(from: Expansion, schema: Schema, at: string): Expansion {
  const { unevaluatedProperties: properties, unevaluatedItems: items } = schema;
  if (from === 'any' || (properties === undefined && items === undefined)) return from;
  return from.map((shape) => {
    if (shape.type === 'object' && properties !== undefined && shape.additional === null)
      return { ...shape, additional: [{ schema: properties, at: `${at}/unevaluatedProperties` }] };
    if (shape.type === 'array' && items !== undefined && shape.items === null)
      return { ...shape, items: [{ schema: items, at: `${at}/unevaluatedItems` }] };
    return shape;
  });
}

function memberOf(value: unknown, name: string): unknown {
  if (Array.isArray(value)) return /^\d+$/.test(name) ? value[Number(name)] : undefined;
  return isObject(value) && Object.hasOwn(value, name) ? value[name] : undefined;
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part).replaceAll('~1', '/').replaceAll('~0', '~');
  } catch {
    return part;
  }
}

function endless(at: string): GrammarError {
  return new GrammarError('unsupported', at, `The schema at ${at} refers to itself without an end.`);
}
