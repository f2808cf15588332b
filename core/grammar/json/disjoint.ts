import { propertyOf } from './meet.ts';
import type { All, ArrayShape, Expansion, NumberShape, ObjectShape, Shape, StringShape } from './shapes.ts';

/** What shapes are compared by. */
export interface Compare {
  readonly all: (places: All) => Expansion;
  readonly admits: (shape: Shape, value: unknown) => boolean;
}

/** Properties within properties that are compared. */
const maxDepth = 3;

/** Whether surely no value is of both; false where that is not known. */
export function disjoint(a: Expansion, b: Expansion, compare: Compare, depth = 0): boolean {
  if (a === 'any') return b !== 'any' && b.length === 0;
  if (b === 'any') return a.length === 0;
  return a.every((left) => b.every((right) => apart(left, right, compare, depth)));
}

function apart(a: Shape, b: Shape, compare: Compare, depth: number): boolean {
  if (a.type === 'literal') return !compare.admits(b, a.value);
  if (b.type === 'literal') return !compare.admits(a, b.value);
  if (a.type === 'number' && b.type === 'number') return numbersApart(a, b) || numbersApart(b, a);
  if (a.type === 'string' && b.type === 'string') return sizesApart(lengths(a), lengths(b));
  if (a.type === 'array' && b.type === 'array') return sizesApart(counts(a), counts(b));
  if (a.type === 'object' && b.type === 'object')
    return toldApart(a, b, compare, depth) || toldApart(b, a, compare, depth);
  return a.type !== b.type;
}

function numbersApart({ max }: NumberShape, { min }: NumberShape): boolean {
  if (max === null || min === null) return false;
  return max.value < min.value || (max.value === min.value && (max.exclusive || min.exclusive));
}

type Sizes = readonly [min: number, max: number | null];

const lengths = ({ minLength, maxLength }: StringShape): Sizes => [minLength, maxLength];
const counts = ({ minItems, maxItems }: ArrayShape): Sizes => [minItems, maxItems];

function sizesApart(a: Sizes, b: Sizes): boolean {
  return (a[1] !== null && a[1] < b[0]) || (b[1] !== null && b[1] < a[0]);
}

/** Whether a property that `a` always has is never as `b` would have it. */
function toldApart(a: ObjectShape, b: ObjectShape, compare: Compare, depth: number): boolean {
  if (depth >= maxDepth) return false;
  return [...a.required].some((name) =>
    disjoint(compare.all(propertyOf(a, name)), compare.all(propertyOf(b, name)), compare, depth + 1),
  );
}
