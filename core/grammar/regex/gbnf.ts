import { type CodePoints, codePoints, codePointsOf, hasCodePoint, union, without } from '../code-points.ts';
import { GrammarError } from '../error.ts';
import { characterClass, oneOf, quote, type RuleSet, repeat } from '../gbnf.ts';
import { nonEmpty, type Regex } from './ast.ts';

/** How one character of a set is written. */
export type CharacterStyle = (set: CodePoints) => string;

/** As it is. */
export function plainCharacter(set: CodePoints): string {
  const one = characterClass(set);
  if (one === null) throw new GrammarError('invalid', '', 'The regular expression has a set without characters.');
  return one;
}

const shortEscapes: readonly (readonly [number, string])[] = [
  [0x22, '\\"'],
  [0x5c, '\\\\'],
  [0x08, '\\b'],
  [0x0c, '\\f'],
  [0x0a, '\\n'],
  [0x0d, '\\r'],
  [0x09, '\\t'],
];
const escapedOnly = union([
  codePoints([
    [0, 0x1f],
    [0x7f, 0x7f],
  ]),
  codePointsOf('"\\'),
]);

/** As it stands inside of a JSON string: escaped where JSON asks for it, else as it is. */
export function jsonCharacter(set: CodePoints): string {
  const raw = characterClass(without(set, escapedOnly));
  const escapes = shortEscapes.filter(([code]) => hasCodePoint(set, code)).map(([, text]) => quote(text));
  const short = new Set(shortEscapes.map(([code]) => code));
  for (let code = 0; code < 0x20; code++) {
    if (!short.has(code) && hasCodePoint(set, code)) escapes.push(quote(`\\u${code.toString(16).padStart(4, '0')}`));
  }
  if (hasCodePoint(set, 0x7f)) escapes.push(quote('\\u007f'));
  const all = [...(raw === null ? [] : [raw]), ...escapes];
  if (all.length === 0) throw new GrammarError('invalid', '', 'The regular expression has a set without characters.');
  return oneOf(all);
}

/** A regular expression as an expression of a grammar. */
export function regexGbnf(regex: Regex, rules: RuleSet, style: CharacterStyle): string {
  switch (regex.kind) {
    case 'set':
      return style(regex.set);
    case 'sequence':
      return regex.parts.length === 0 ? '""' : regex.parts.map((part) => regexGbnf(part, rules, style)).join(' ');
    case 'choice':
      return oneOf(regex.options.map((option) => regexGbnf(option, rules, style)));
    case 'repeat':
      return repeated(regex, rules, style);
  }
}

function repeated(regex: Regex & { kind: 'repeat' }, rules: RuleSet, style: CharacterStyle): string {
  // Repeating what may be empty has no end for engines that try it out.
  const of = nonEmpty(regex.of);
  if (of === null || regex.max === 0) return '""';
  const min = of === regex.of ? regex.min : 0;
  const one = regexGbnf(of, rules, style);
  return repeat(one.length > 40 ? rules.add(one) : one, min, regex.max);
}
