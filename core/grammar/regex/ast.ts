import type { CodePoints } from '../code-points.ts';

/** A regular expression without anchors. */
export type Regex =
  | { readonly kind: 'set'; readonly set: CodePoints }
  | { readonly kind: 'sequence'; readonly parts: readonly Regex[] }
  | { readonly kind: 'choice'; readonly options: readonly Regex[] }
  /** `max` null: without bound. */
  | { readonly kind: 'repeat'; readonly of: Regex; readonly min: number; readonly max: number | null };

export const emptyRegex: Regex = { kind: 'sequence', parts: [] };

/** Least and most characters of a match; null: without bound. */
export function lengthsOf(regex: Regex): { min: number; max: number | null } {
  switch (regex.kind) {
    case 'set':
      return { min: 1, max: 1 };
    case 'sequence': {
      const parts = regex.parts.map(lengthsOf);
      return { min: parts.reduce((sum, { min }) => sum + min, 0), max: sumOf(parts.map(({ max }) => max)) };
    }
    case 'choice': {
      const options = regex.options.map(lengthsOf);
      const unbounded = options.some(({ max }) => max === null);
      return {
        min: Math.min(...options.map(({ min }) => min)),
        max: unbounded ? null : Math.max(...options.map(({ max }) => max ?? 0)),
      };
    }
    case 'repeat': {
      const { min, max } = lengthsOf(regex.of);
      const most = max === 0 ? 0 : max === null || regex.max === null ? null : max * regex.max;
      return { min: min * regex.min, max: regex.max === 0 ? 0 : most };
    }
  }
}

function sumOf(values: readonly (number | null)[]): number | null {
  let sum = 0;
  for (const value of values) {
    if (value === null) return null;
    sum += value;
  }
  return sum;
}

/** What matches everything that `regex` matches but the empty text; null: it matches nothing else. */
export function nonEmpty(regex: Regex): Regex | null {
  if (lengthsOf(regex).min > 0) return regex;
  switch (regex.kind) {
    case 'set':
      return regex;
    case 'choice':
      return choiceOf(regex.options.map(nonEmpty));
    case 'repeat': {
      const of = nonEmpty(regex.of);
      return of === null || regex.max === 0 ? null : { kind: 'repeat', of, min: 1, max: regex.max };
    }
    case 'sequence':
      // One part is the first that is not empty; the parts before it are left out.
      return choiceOf(
        regex.parts.map((part, index) => {
          const first = nonEmpty(part);
          return first === null ? null : { kind: 'sequence', parts: [first, ...regex.parts.slice(index + 1)] };
        }),
      );
  }
}

function choiceOf(options: readonly (Regex | null)[]): Regex | null {
  const left = options.filter((option) => option !== null);
  return left.length === 0 ? null : { kind: 'choice', options: left };
}
