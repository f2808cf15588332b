import { GrammarError } from '../error.ts';
import { lengthsOf, type Regex } from '../regex/ast.ts';
import { formatRegex } from './formats.ts';
import type { Notation } from './notation.ts';
import { patternRegex } from './patterns.ts';
import type { StringShape } from './shapes.ts';

/** Strings of a shape, without white space after them; null: there is none. */
export function stringGbnf(shape: StringShape, notation: Pick<Notation, 'string' | 'matching'>): string | null {
  const { minLength, maxLength, at } = shape;
  if (maxLength !== null && maxLength < minLength) return null;
  const regex = regexOf(shape);
  if (regex === null) return notation.string(minLength, maxLength);
  const fitted = withinLength(regex, minLength, maxLength);
  if (fitted === null) {
    throw new GrammarError(
      'unsupported',
      at,
      `A pattern or format together with a length that it does not keep to by itself is not supported (at ${at}).`,
    );
  }
  return notation.matching(fitted, at);
}

/** The one expression that the text must match; null: none. */
function regexOf({ patterns, format, at }: StringShape): Regex | null {
  const all = [
    ...patterns.map((pattern) => patternRegex(pattern, `${at}/pattern`)),
    ...(format === null ? [] : [formatRegex(format)]),
  ];
  if (all.length > 1)
    throw new GrammarError(
      'unsupported',
      at,
      `Several patterns or formats of one string are not supported (at ${at}).`,
    );
  return all[0] ?? null;
}

/** The expression with its length bounded, where that needs no more than other bounds of a repetition; null: it does. */
function withinLength(regex: Regex, min: number, max: number | null): Regex | null {
  const own = lengthsOf(regex);
  if (own.min >= min && (max === null || (own.max !== null && own.max <= max))) return regex;
  if (regex.kind !== 'repeat' || regex.of.kind !== 'set') return null;
  const most = regex.max === null || max === null ? (regex.max ?? max) : Math.min(regex.max, max);
  const least = Math.max(regex.min, min);
  return most !== null && most < least ? null : { ...regex, min: least, max: most };
}
