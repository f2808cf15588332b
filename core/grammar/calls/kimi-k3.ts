import { oneOf, quote, RuleSet } from '../gbnf.ts';
import { addTaggedParameters, kimiParameters } from '../tagged-parameters.ts';
import { type CallTool, callSchema, maxCallWork } from './tool.ts';

/** GBNF of the calls in Kimi K3's channel of tools, one or several. Throws GrammarError. */
export function kimiCalls(tools: readonly CallTool[], parallel: boolean): string {
  const rules = new RuleSet({ maxWork: maxCallWork });
  const calls = tools.map(
    (tool) =>
      `${quote(`<|open|>call tool="${escaped(tool.name)}" index="`)} [1-9] [0-9]{0,2} ${quote('"<|sep|>')} ${addTaggedParameters(rules, callSchema(tool), kimiParameters)} ${quote('<|close|>call<|sep|>')}`,
  );
  const one = rules.add(oneOf(calls));
  return rules.grammar(parallel ? `${one}+` : one);
}

function escaped(name: string): string {
  return name.replaceAll('&', '&amp;').replaceAll('"', '&quot;');
}
