import type { GuidedDecoding } from '#gen/stator/engine/v1/generate_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { jsonRules, jsonSchemaGrammar, quote } from './json-schema-grammar.ts';

/** The constraint of a request as GBNF; empty: none. Throws StatorError naming the field for what is not supported. */
export function guidedGrammar(guided: GuidedDecoding | undefined): string {
  const constraint = guided?.constraint;
  if (constraint?.case === undefined) return '';
  switch (constraint.case) {
    case 'grammar':
      if (constraint.value.trim() === '') throw StatorError.invalid('guided.grammar', 'The grammar is empty.');
      return constraint.value;
    case 'jsonSchema':
      return jsonSchemaGrammar(constraint.value);
    case 'jsonObject':
      return constraint.value ? ['root ::= space object', ...jsonRules].join('\n') : '';
    case 'choice': {
      const { choices } = constraint.value;
      if (choices.length === 0 || choices.includes('')) {
        throw StatorError.invalid('guided.choice', 'There must be at least one choice, and none may be empty.');
      }
      return `root ::= ${choices.map(quote).join(' | ')}`;
    }
    default:
      throw StatorError.unsupported(
        `guided.${constraint.case}`,
        `This engine does not support guided ${constraint.case}.`,
      );
  }
}
