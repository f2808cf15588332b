/** A set of Unicode code points: ranges, both ends included, ascending and apart. Surrogates are in none. */
export type CodePoints = readonly (readonly [from: number, to: number])[];

const last = 0x10ffff;

/** Every code point that text can hold. */
export const allCodePoints: CodePoints = [
  [0, 0xd7ff],
  [0xe000, last],
];

export function codePoints(ranges: readonly (readonly [number, number])[]): CodePoints {
  return intersect(merged(ranges), allCodePoints);
}

export function codePointsOf(text: string): CodePoints {
  return codePoints([...text].map((character) => [character.codePointAt(0) ?? 0, character.codePointAt(0) ?? 0]));
}

export function union(sets: readonly CodePoints[]): CodePoints {
  return merged(sets.flat());
}

export function intersect(a: CodePoints, b: CodePoints): CodePoints {
  const out: [number, number][] = [];
  for (const [from, to] of a) {
    for (const [start, end] of b) {
      if (start <= to && end >= from) out.push([Math.max(from, start), Math.min(to, end)]);
    }
  }
  return out;
}

export function complement(set: CodePoints): CodePoints {
  const out: [number, number][] = [];
  let next = 0;
  for (const [from, to] of set) {
    if (from > next) out.push([next, from - 1]);
    next = to + 1;
  }
  if (next <= last) out.push([next, last]);
  return intersect(out, allCodePoints);
}

export function without(set: CodePoints, taken: CodePoints): CodePoints {
  return intersect(set, complement(taken));
}

export function hasCodePoint(set: CodePoints, code: number): boolean {
  return set.some(([from, to]) => code >= from && code <= to);
}

function merged(ranges: readonly (readonly [number, number])[]): CodePoints {
  const out: [number, number][] = [];
  for (const [from, to] of ranges.toSorted((a, b) => a[0] - b[0])) {
    const before = out.at(-1);
    if (before !== undefined && from <= before[1] + 1) before[1] = Math.max(before[1], to);
    else out.push([from, to]);
  }
  return out;
}
