import { quote, type RuleSet } from '../gbnf.ts';

/** Names of the rules that every JSON grammar shares. */
export interface JsonRules {
  readonly space: string;
  readonly character: string;
  readonly string: string;
  readonly integer: string;
  readonly number: string;
  readonly boolean: string;
  readonly null: string;
  readonly value: string;
  readonly object: string;
  readonly array: string;
}

/** Digits of a number without bounds: enough for every double and every 64-bit integer that JSON readers keep. */
const integral = '("0" | [1-9] [0-9]{0,15})';

const added = new WeakMap<RuleSet, JsonRules>();

/** They, once for each set of rules. */
export function jsonRulesOf(rules: RuleSet): JsonRules {
  let known = added.get(rules);
  if (known === undefined) {
    known = addJsonRules(rules);
    added.set(rules, known);
  }
  return known;
}

/** Adds them; each value is followed by optional white space, which is bounded: a model may otherwise write it for ever. */
function addJsonRules(rules: RuleSet): JsonRules {
  const space = rules.add('"" | " " | "\\n"{1,2} [ \\t]{0,20}');
  const character = rules.add('[^"\\\\\\x7F\\x00-\\x1F] | [\\\\] (["\\\\bfnrt/] | "u" [0-9a-fA-F]{4})');
  const string = rules.add(`"\\"" ${character}* "\\"" ${space}`);
  const integer = rules.add(`"-"? ${integral} ${space}`);
  const number = rules.add(`"-"? ${integral} ("." [0-9]{1,16})? ([eE] [-+]? [0-9]{1,3})? ${space}`);
  const boolean = rules.add(`("true" | "false") ${space}`);
  const nothing = rules.add(`"null" ${space}`);
  const value = rules.reserve();
  const object = rules.add(
    `"{" ${space} (${string} ":" ${space} ${value} ("," ${space} ${string} ":" ${space} ${value})*)? "}" ${space}`,
  );
  const array = rules.add(`"[" ${space} (${value} ("," ${space} ${value})*)? "]" ${space}`);
  rules.define(value, `${object} | ${array} | ${string} | ${number} | ${boolean} | ${nothing}`);
  return { space, character, string, integer, number, boolean, null: nothing, value, object, array };
}

/** The JSON text of a value that is known, as a literal. */
export function jsonLiteral(value: unknown): string {
  return quote(JSON.stringify(value));
}
