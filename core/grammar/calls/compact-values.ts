import type { RuleSet } from '../gbnf.ts';
import type { Notation } from '../json/notation.ts';
import { numeral, wholeNumeral } from '../json/rules.ts';

/** Values as in JSON without white space, of strings `text` and names `key`, which the format of calls writes in its own way. */
export function compactValues(
  rules: RuleSet,
  { text, key }: { readonly text: string; readonly key: string },
): Pick<Notation, 'space' | 'value' | 'integer' | 'number' | 'boolean' | 'null' | 'anyKey'> {
  const number = rules.add(numeral);
  const value = rules.reserve();
  const object = rules.add(`"{" (${key} ":" ${value} ("," ${key} ":" ${value})*)? "}"`);
  const array = rules.add(`"[" (${value} ("," ${value})*)? "]"`);
  rules.define(value, `${object} | ${array} | ${text} | ${number} | "true" | "false" | "null"`);
  const integer = rules.add(wholeNumeral);
  return { space: '""', value, integer, number, boolean: '("true" | "false")', null: '"null"', anyKey: key };
}
