import { choiceGrammar, jsonSchemaGrammar, regexGrammar } from '#core/grammar/constraints.ts';
import { GrammarError } from '#core/grammar/error.ts';
import type { GrammarOptions } from '#core/grammar/gbnf.ts';
import { structuralTagGrammar } from '#core/grammar/structural-tag.ts';
import type { GuidedDecoding } from '#gen/stator/engine/v1/generate_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';

type Constraint = GuidedDecoding['constraint'];

/** The constraint of a request as GBNF; empty: none. Throws StatorError naming the field for what is not supported. */
export function guidedGrammar(guided: GuidedDecoding | undefined, options?: GrammarOptions): string {
  const constraint = guided?.constraint;
  if (constraint?.case === undefined) return '';
  const field = `guided.${fields[constraint.case]}`;
  try {
    return compile(constraint, field, options);
  } catch (error) {
    if (!(error instanceof GrammarError)) throw error;
    const options = error.path === '' ? {} : { facts: { path: error.path } };
    throw new StatorError(error.kind === 'invalid' ? 'invalid_argument' : 'unsupported', error.message, {
      field,
      ...options,
    });
  }
}

const fields: Readonly<Record<NonNullable<Constraint['case']>, string>> = {
  jsonSchema: 'json_schema',
  regex: 'regex',
  grammar: 'grammar',
  choice: 'choice',
  jsonObject: 'json_object',
  structuralTag: 'structural_tag',
};

function compile(constraint: Constraint, field: string, options: GrammarOptions | undefined): string {
  switch (constraint.case) {
    case 'grammar':
      if (constraint.value.trim() === '') throw StatorError.invalid(field, 'The grammar is empty.');
      return constraint.value;
    case 'jsonSchema':
      return jsonSchemaGrammar(parsed(constraint.value, field, 'JSON Schema'), options);
    case 'jsonObject':
      return constraint.value ? jsonSchemaGrammar({ type: 'object' }, options) : '';
    case 'regex':
      return regexGrammar(constraint.value);
    case 'structuralTag':
      return structuralTagGrammar(parsed(constraint.value, field, 'structural tag'), options);
    case 'choice': {
      const { choices } = constraint.value;
      if (choices.length === 0 || choices.includes('')) {
        throw StatorError.invalid(field, 'There must be at least one choice, and none may be empty.');
      }
      return choiceGrammar(choices);
    }
    case undefined:
      return '';
  }
}

function parsed(text: string, field: string, what: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw StatorError.invalid(field, `The ${what} is not JSON.`, { cause });
  }
}
