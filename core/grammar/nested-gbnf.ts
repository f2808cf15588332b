import { GrammarError } from './error.ts';
import type { RuleSet } from './gbnf.ts';

/** A token of GBNF that may hold no rule's name, or the name itself. */
const token = /"(?:\\.|[^"\\\n])*"|\[(?:\\.|[^\]\\\n])*\]|#[^\n]*|[A-Za-z][A-Za-z0-9-]*(\s*::=)?|\d+|[\s\S]/g;

/** Takes a grammar in GBNF into another: its rules get new names; the expression of its whole language. */
export function addGbnf(rules: RuleSet, grammar: string): string {
  const names = new Map<string, string>();
  for (const [, name] of grammar.matchAll(/^[ \t]*([A-Za-z][A-Za-z0-9-]*)\s*::=/gm)) {
    if (name !== undefined && !names.has(name)) names.set(name, rules.reserve());
  }
  const root = names.get('root');
  if (root === undefined) throw new GrammarError('invalid', '', 'The grammar has no rule named root.');
  let current: string | null = null;
  let body = '';
  const finish = (): void => {
    if (current !== null) rules.define(current, body.trim());
    body = '';
  };
  for (const [text, head] of grammar.matchAll(token)) {
    if (head !== undefined) {
      finish();
      current = names.get(text.slice(0, -head.length)) ?? null;
    } else if (!text.startsWith('#')) body += names.get(text) ?? (text === '\n' ? ' ' : text);
  }
  finish();
  return root;
}
