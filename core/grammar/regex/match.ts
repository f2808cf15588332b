import { hasCodePoint } from '../code-points.ts';
import type { Regex } from './ast.ts';

/** Whether a whole text matches, in time that no expression can make exponential. */
export function matchesRegex(regex: Regex, text: string): boolean {
  const codes = [...text].map((character) => character.codePointAt(0) ?? 0);
  return advance(regex, codes, new Set([0])).has(codes.length);
}

type Positions = ReadonlySet<number>;

/** Where matches end that begin at any of `from`. */
function advance(regex: Regex, codes: readonly number[], from: Positions): Positions {
  if (from.size === 0) return from;
  switch (regex.kind) {
    case 'set': {
      const ends = [...from].filter((at) => at < codes.length && hasCodePoint(regex.set, codes[at] ?? 0));
      return new Set(ends.map((at) => at + 1));
    }
    case 'sequence':
      return regex.parts.reduce((at, part) => advance(part, codes, at), from);
    case 'choice':
      return new Set(regex.options.flatMap((option) => [...advance(option, codes, from)]));
    case 'repeat':
      return advanceRepeat(regex, codes, from);
  }
}

function advanceRepeat(
  { of, min, max }: Regex & { kind: 'repeat' },
  codes: readonly number[],
  from: Positions,
): Positions {
  let at = from;
  for (let count = 0; count < min && at.size > 0; count++) at = advance(of, codes, at);
  const ends = new Set(at);
  for (let count = min; max === null || count < max; count++) {
    at = advance(of, codes, at);
    const before = ends.size;
    for (const end of at) ends.add(end);
    // Once nothing new is reached, nothing new ever will be: positions only move on.
    if (ends.size === before) break;
  }
  return ends;
}
