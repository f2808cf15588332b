import { codePointsOf, hasCodePoint, without } from '../code-points.ts';
import { oneOf, quote, type RuleSet, repeat } from '../gbnf.ts';
import type { Notation } from '../json/notation.ts';
import { jsonCharacter, regexGbnf } from '../regex/gbnf.ts';
import { compactValues } from './compact-values.ts';

const angle = codePointsOf('<');

/** Compact JSON whose strings escape `<`, so that they cannot hold tags. */
export function elementJson(rules: RuleSet): Notation {
  const character = rules.add('[^"\\\\<\\u007f\\u0000-\\u001f] | [\\\\] (["\\\\bfnrt/] | "u" [0-9a-fA-F]{4})');
  const string = (min: number, max: number | null): string => `"\\"" ${repeat(character, min, max)} "\\""`;
  const text = rules.add(string(0, null));
  return {
    ...compactValues(rules, { text, key: text }),
    literal,
    string,
    matching: (regex) => `"\\"" ${rules.add(regexGbnf(regex, rules, characterOf))} "\\""`,
    key: literal,
  };
}

function characterOf(set: Parameters<typeof without>[0]): string {
  if (!hasCodePoint(set, 0x3c)) return jsonCharacter(set);
  const rest = without(set, angle);
  return oneOf([...(rest.length === 0 ? [] : [jsonCharacter(rest)]), quote('\\u003c')]);
}

function literal(value: unknown): string {
  return quote(JSON.stringify(value).replaceAll('<', '\\u003c'));
}
