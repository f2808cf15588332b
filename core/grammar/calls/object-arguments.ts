import { GrammarError } from '../error.ts';
import type { RuleSet } from '../gbnf.ts';
import { oneOf } from '../gbnf.ts';
import { membersGbnf } from '../json/emit-object.ts';
import { Emitter } from '../json/emitter.ts';
import type { MemberStyle, Notation } from '../json/notation.ts';

/** The arguments of a call as members in a notation, without what stands around them. Throws GrammarError. */
export function argumentMembers(
  rules: RuleSet,
  schema: unknown,
  notation: Notation,
  style: MemberStyle = { ...notation, between: `":" ${notation.space}` },
): string {
  const emitter = new Emitter(schema, rules, notation);
  const shapes = emitter.expander.all([{ schema, at: '#' }]);
  const objects = shapes === 'any' ? [] : shapes.filter((shape) => shape.type === 'object');
  const options = objects.map((shape) => membersGbnf(shape, emitter, style)).filter((option) => option !== null);
  if (options.length === 0) throw new GrammarError('unsupported', '#', 'Arguments need a schema of an object.');
  return rules.add(oneOf(options));
}
