import { quote, type RuleSet, repeat } from '../gbnf.ts';
import { jsonCharacter, regexGbnf } from '../regex/gbnf.ts';
import type { Notation } from './notation.ts';

/** A numeral without bounds: enough digits for every double and every 64-bit integer that JSON readers keep. */
export const wholeNumeral = '"-"? ("0" | [1-9] [0-9]{0,15})';
export const numeral = `${wholeNumeral} ("." [0-9]{1,16})? ([eE] [-+]? [0-9]{1,3})?`;

const added = new WeakMap<RuleSet, Notation>();

/** JSON, its rules once for each set of rules. */
export function jsonNotation(rules: RuleSet): Notation {
  let known = added.get(rules);
  if (known === undefined) {
    known = addJson(rules);
    added.set(rules, known);
  }
  return known;
}

/**
 * Adds them. White space between values is what compact JSON, JSON on one line and indented JSON have, and no more: a model
 * may otherwise write it for ever.
 */
function addJson(rules: RuleSet): Notation {
  const lines = rules.jsonIndent === 0 ? '' : ` | "\\n" [ \\t]{0,${rules.jsonIndent}}`;
  const space = rules.add(`"" | " "${lines}`);
  const character = rules.add('[^"\\\\\\x7F\\x00-\\x1F] | [\\\\] (["\\\\bfnrt/] | "u" [0-9a-fA-F]{4})');
  const string = (min: number, max: number | null): string => `"\\"" ${repeat(character, min, max)} "\\""`;
  const integer = rules.add(wholeNumeral);
  const number = rules.add(numeral);
  const boolean = rules.add('"true" | "false"');
  const text = rules.add(string(0, null));
  const value = rules.reserve();
  const pair = rules.add(`${text} ":" ${space} ${value} ${space}`);
  const object = rules.add(`"{" ${space} (${pair} ("," ${space} ${pair})*)? "}"`);
  const array = rules.add(`"[" ${space} (${value} ${space} ("," ${space} ${value} ${space})*)? "]"`);
  rules.define(value, `${object} | ${array} | ${text} | ${number} | ${boolean} | "null"`);
  return {
    space,
    value,
    integer,
    number,
    boolean,
    null: '"null"',
    literal: jsonLiteral,
    string,
    matching: (regex) => `"\\"" ${rules.add(regexGbnf(regex, rules, jsonCharacter))} "\\""`,
    key: jsonLiteral,
    anyKey: string(0, null),
  };
}

/** The JSON text of a value that is known, as a literal. */
function jsonLiteral(value: unknown): string {
  return quote(JSON.stringify(value));
}
