import type { ReasoningFormat } from '#core/parsing/context.ts';
import type { ReasoningStart } from '#core/parsing/document.ts';
import type { Guided } from '../pipeline/request.ts';

type Json = Readonly<Record<string, unknown>>;

/** Between reasoning and an answer that begins with no white space of its own. */
const gap: Json = { type: 'regex', pattern: '[ \\n]{0,4}' };
/** What ends a gpt-oss model's reasoning: the head of its answer's message. */
const finalMessage = '<|channel|>final<|message|>';

/** The constraint, with room for the model's reasoning in front of what it constrains. */
export function afterReasoning(guided: Guided, reasoning: ReasoningFormat | null, start: ReasoningStart): Guided {
  const inner = reasoning === null || start === 'content' ? null : formatOf(guided);
  if (reasoning === null || inner === null) return guided;
  // Messages that reason are free text too, and so is what stands in front of a call.
  if (reasoning.readBy !== undefined && inner[0]?.['type'] === 'triggered_tags') return guided;
  return {
    case: 'structuralTag',
    value: JSON.stringify({ type: 'structural_tag', format: behind(reasoning, start, inner) }),
  };
}

function behind(reasoning: ReasoningFormat, start: ReasoningStart, inner: readonly Json[]): Json {
  const after = (begin: string, end: readonly string[]): Json => ({
    type: 'sequence',
    elements: [{ type: 'tag', begin, content: { type: 'any_text' }, end }, ...inner],
  });
  if (reasoning.readBy !== undefined) return after('', [finalMessage]);
  if (start === 'inside' || reasoning.forced === true) return after('', reasoning.closes);
  const answer: Json = inner.length === 1 ? (inner[0] ?? {}) : { type: 'sequence', elements: inner };
  return { type: 'or', elements: [...reasoning.opens.map((open) => after(open, reasoning.closes)), answer] };
}

/** The constraint as formats of a structural tag; null: there is none. */
function formatOf(guided: Guided): readonly Json[] | null {
  switch (guided.case) {
    case 'jsonSchema':
      return [{ type: 'json_schema', json_schema: JSON.parse(guided.value) as unknown }];
    case 'jsonObject':
      return guided.value ? [{ type: 'json_schema', json_schema: { type: 'object' } }] : null;
    case 'regex':
      return [gap, { type: 'regex', pattern: guided.value }];
    case 'grammar':
      return [gap, { type: 'grammar', grammar: guided.value }];
    case 'choice': {
      const choices = guided.value.choices ?? [];
      return [gap, { type: 'or', elements: choices.map((value) => ({ type: 'const_string', value })) }];
    }
    case 'structuralTag':
      return [tagFormat(JSON.parse(guided.value) as Json)];
    default:
      return null;
  }
}

/** The format of a structural tag; the first form of them had structures instead. */
function tagFormat(tag: Json): Json {
  const { format, structures, triggers } = tag;
  if (typeof format === 'object' && format !== null) return format as Json;
  const tags = (Array.isArray(structures) ? structures : []).map((structure: Json) => ({
    type: 'tag',
    begin: structure['begin'],
    content: { type: 'json_schema', json_schema: structure['schema'] },
    end: structure['end'],
  }));
  return { type: 'triggered_tags', triggers, tags };
}
