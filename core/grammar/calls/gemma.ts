import { oneOf, quote, RuleSet } from '../gbnf.ts';
import { gemmaNotation } from './gemma-notation.ts';
import { argumentMembers } from './object-arguments.ts';
import { type CallTool, callSchema, maxCallWork } from './tool.ts';

/** GBNF of one call as Gemma 4 writes it, without its marks: `NAME{key:value`, without the brace. Throws GrammarError. */
export function gemmaCall(tools: readonly CallTool[]): string {
  const rules = new RuleSet({ maxWork: maxCallWork });
  const notation = gemmaNotation(rules);
  const calls = tools.map((tool) => `${quote(`${tool.name}{`)} ${argumentMembers(rules, callSchema(tool), notation)}`);
  return rules.grammar(oneOf(calls));
}
