import { argumentsSchema } from '#core/grammar/calls/tool.ts';
import type { ToolSchema } from '#core/parsing/context.ts';
import type { ToolChoice } from '#core/parsing/document.ts';

/** JSON Schema of the answer that a choice forces; null: it forces none. */
export function forcedSchema(tools: readonly ToolSchema[], choice: ToolChoice, parallel: boolean): unknown {
  if (choice.mode === 'required') return callListSchema(tools, parallel);
  const named = choice.mode === 'named' ? tools.find(({ name }) => name === choice.name) : undefined;
  return named === undefined ? null : argumentsSchema(named);
}

type Json = Readonly<Record<string, unknown>>;

/** JSON Schema of the list of calls that `tool_choice` "required" forces: `[{"name": …, "parameters": …}]`. */
function callListSchema(tools: readonly ToolSchema[], parallel: boolean): Json {
  return {
    type: 'array',
    minItems: 1,
    ...(parallel ? {} : { maxItems: 1 }),
    items: { anyOf: tools.map((tool, index) => callSchema(tool, `#/items/anyOf/${index}/properties/parameters`)) },
  };
}

function callSchema(tool: ToolSchema, place: string): Json {
  return {
    type: 'object',
    properties: { name: { const: tool.name }, parameters: movedTo(place, argumentsSchema(tool)) },
    required: ['name', 'parameters'],
    additionalProperties: false,
  };
}

/** Values that are data, not schemas. */
const data: ReadonlySet<string> = new Set(['const', 'enum', 'default', 'examples']);

/** The schema with its references to itself leading to where it stands now. */
function movedTo(place: string, schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map((item) => movedTo(place, item));
  if (typeof schema !== 'object' || schema === null) return schema;
  return Object.fromEntries(
    Object.entries(schema).map(([key, value]: [string, unknown]) => {
      if (key === '$ref' && typeof value === 'string' && value.startsWith('#')) return [key, place + value.slice(1)];
      return [key, data.has(key) ? value : movedTo(place, value)];
    }),
  );
}
