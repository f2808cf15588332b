import { type GrammarOptions, oneOf, quote, RuleSet } from './gbnf.ts';
import { addJsonSchema } from './json/emitter.ts';
import { plainCharacter, regexGbnf } from './regex/gbnf.ts';
import { wholeRegex } from './regex/parse.ts';

/**
 * GBNF whose every text is JSON that a schema (2020-12) allows. What the schema leaves open may be narrowed: properties
 * come in the schema's order and only those that are named, white space is that of compact or indented JSON. A keyword that could not be kept to
 * is refused with its place, never ignored. Throws GrammarError.
 */
export function jsonSchemaGrammar(schema: unknown, options?: GrammarOptions): string {
  const rules = new RuleSet(options);
  return rules.grammar(addJsonSchema(rules, schema));
}

/** GBNF of the texts that a regular expression matches as a whole. Throws GrammarError. */
export function regexGrammar(source: string): string {
  const rules = new RuleSet();
  return rules.grammar(regexGbnf(wholeRegex(source), rules, plainCharacter));
}

/** GBNF of some texts. */
export function choiceGrammar(choices: readonly string[]): string {
  return new RuleSet().grammar(oneOf(choices.map(quote)));
}
