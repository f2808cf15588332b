import { GrammarError } from '../error.ts';
import { matchesRegex } from '../regex/match.ts';
import type { Bound } from './decimals.ts';
import { patternRegex } from './patterns.ts';
import type { All, ArrayShape, Expansion, NumberShape, ObjectShape, Shape, StringShape } from './shapes.ts';

/** Most alternatives that a schema may come to when its parts are combined. */
const maxShapes = 4096;

/** What both allow. `admits` tells whether a shape takes a literal, `spend` counts the comparisons. */
export function meet(
  a: Expansion,
  b: Expansion,
  admits: (shape: Shape, value: unknown) => boolean,
  spend: (comparisons: number) => void,
): Expansion {
  if (a === 'any') return b;
  if (b === 'any') return a;
  spend(a.length * b.length);
  const out: Shape[] = [];
  for (const left of a) {
    for (const right of b) {
      const both = meetShapes(left, right, admits);
      if (both === null) continue;
      out.push(both);
      if (out.length > maxShapes)
        throw new GrammarError('unsupported', '#', 'The schema combines into too many alternatives.');
    }
  }
  return out;
}

function meetShapes(a: Shape, b: Shape, admits: (shape: Shape, value: unknown) => boolean): Shape | null {
  if (a.type === 'literal') return admits(b, a.value) ? a : null;
  if (b.type === 'literal') return admits(a, b.value) ? b : null;
  if (a.type === 'number' && b.type === 'number') return meetNumbers(a, b);
  if (a.type === 'string' && b.type === 'string') return meetStrings(a, b);
  if (a.type === 'array' && b.type === 'array') return meetArrays(a, b);
  if (a.type === 'object' && b.type === 'object') return meetObjects(a, b);
  return a.type === b.type ? a : null;
}

function meetNumbers(a: NumberShape, b: NumberShape): NumberShape {
  const { multipleOf } = a;
  if (multipleOf !== null && b.multipleOf !== null && multipleOf !== b.multipleOf) {
    throw new GrammarError('unsupported', `${b.at}/multipleOf`, 'Two multiples cannot both be kept to.');
  }
  return {
    type: 'number',
    integer: a.integer || b.integer,
    min: tighter(a.min, b.min, 1),
    max: tighter(a.max, b.max, -1),
    multipleOf: multipleOf ?? b.multipleOf,
    at: b.at,
  };
}

/** Of two bounds the one that allows less; `direction` 1: lower bounds, -1: upper ones. */
export function tighter(a: Bound | null, b: Bound | null, direction: 1 | -1): Bound | null {
  if (a === null || b === null) return a ?? b;
  if (a.value !== b.value) return (a.value - b.value) * direction > 0 ? a : b;
  return a.exclusive ? a : b;
}

function meetStrings(a: StringShape, b: StringShape): StringShape {
  if (a.format !== null && b.format !== null && a.format !== b.format) {
    throw new GrammarError('unsupported', `${b.at}/format`, 'Two formats cannot both be kept to.');
  }
  return {
    type: 'string',
    minLength: Math.max(a.minLength, b.minLength),
    maxLength: least(a.maxLength, b.maxLength),
    patterns: [...new Set([...a.patterns, ...b.patterns])],
    format: a.format ?? b.format,
    at: b.at,
  };
}

function least(a: number | null, b: number | null): number | null {
  return a === null || b === null ? (a ?? b) : Math.min(a, b);
}

function meetArrays(a: ArrayShape, b: ArrayShape): ArrayShape {
  const prefix: All[] = [];
  for (let index = 0; index < Math.max(a.prefix.length, b.prefix.length); index++) {
    prefix.push([...(a.prefix[index] ?? a.items ?? []), ...(b.prefix[index] ?? b.items ?? [])]);
  }
  return {
    type: 'array',
    prefix,
    items: joined(a.items, b.items),
    minItems: Math.max(a.minItems, b.minItems),
    maxItems: least(a.maxItems, b.maxItems),
    at: b.at,
  };
}

function joined(a: All | null, b: All | null): All | null {
  return a === null || b === null ? (a ?? b) : [...a, ...b];
}

function meetObjects(a: ObjectShape, b: ObjectShape): ObjectShape {
  const properties = new Map<string, All>();
  for (const name of new Set([...a.properties.keys(), ...b.properties.keys()])) {
    properties.set(name, [...propertyOf(a, name), ...propertyOf(b, name)]);
  }
  return {
    type: 'object',
    properties,
    required: new Set([...a.required, ...b.required]),
    additional: joined(a.additional, b.additional),
    patterns: [...a.patterns, ...b.patterns],
    names: [...a.names, ...b.names],
    minProperties: Math.max(a.minProperties, b.minProperties),
    maxProperties: least(a.maxProperties, b.maxProperties),
    at: b.at,
  };
}

/** What an object demands of a property, named by it or not. */
export function propertyOf(shape: ObjectShape, name: string): All {
  const own = shape.properties.get(name);
  const matching = shape.patterns.filter(({ pattern }) => matchesRegex(patternRegex(pattern, shape.at), name));
  if (own !== undefined || matching.length > 0) return [...(own ?? []), ...matching.flatMap(({ of }) => of)];
  return shape.additional ?? [];
}
