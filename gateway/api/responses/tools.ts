import { z } from 'zod';
import type { Tool } from '../schemas/message.ts';

const name = z.string().min(1).max(128);

const functionTool = z.strictObject({
  type: z.literal('function'),
  name,
  description: z.string().nullish(),
  parameters: z.record(z.string(), z.unknown()).nullish(),
  strict: z.boolean().nullish(),
});
const customTool = z
  .strictObject({
    type: z.literal('custom'),
    name,
    description: z.string().nullish(),
    format: z
      .discriminatedUnion('type', [
        z.strictObject({ type: z.literal('text') }),
        z.strictObject({
          type: z.literal('grammar'),
          syntax: z.enum(['lark', 'regex']).describe('regex: kept to, as strict tools are. lark: told to the model.'),
          definition: z.string().min(1).max(65_536),
        }),
      ])
      .nullish(),
  })
  .describe('A tool that takes text.');
const hostedTool = z
  .looseObject({ type: z.enum(['web_search', 'web_search_2025_08_26', 'web_search_preview']) })
  .describe(
    'Not offered to the model, and not among the tools of the response; an answer without a search is allowed.',
  );

export const responseTool = z.discriminatedUnion('type', [functionTool, customTool, hostedTool]);
const namedTool = z.strictObject({ type: z.enum(['function', 'custom']), name });
export const responseToolChoice = z.union([
  z.enum(['none', 'auto', 'required']),
  namedTool,
  z.strictObject({
    type: z.literal('allowed_tools'),
    mode: z.enum(['auto', 'required']),
    tools: z.array(namedTool).min(1).max(1536),
  }),
]);

type ResponseTool = z.infer<typeof responseTool>;
type CustomTool = z.infer<typeof customTool>;
export type OfferedTool = z.infer<typeof functionTool> | CustomTool;

/** The tools that the model may call. */
export function offeredTools(tools: readonly ResponseTool[]): OfferedTool[] {
  return tools.filter((tool) => tool.type === 'function' || tool.type === 'custom');
}

/** A tool as chats have it; text is a function's one argument. */
export function chatTool(tool: OfferedTool): Tool {
  if (tool.type === 'custom') return { type: 'function', function: customFunction(tool) };
  const { name, description, parameters, strict } = tool;
  return { type: 'function', function: { name, description, parameters, strict } };
}

function customFunction({ name, description, format }: CustomTool): Tool['function'] {
  const grammar = format?.type === 'grammar' ? format : null;
  const told = grammar?.syntax === 'lark' ? `The input keeps to this grammar (Lark):\n${grammar.definition}` : null;
  const input =
    grammar?.syntax === 'regex' ? { type: 'string', pattern: `^(?:${grammar.definition})$` } : { type: 'string' };
  return {
    name,
    description: [description, told].filter((text) => text).join('\n\n') || null,
    parameters: { type: 'object', properties: { input }, required: ['input'], additionalProperties: false },
    strict: grammar?.syntax === 'regex',
  };
}

/** A call of a custom tool as a function's arguments. */
export function customArguments(input: string): string {
  return JSON.stringify({ input });
}

/** The text of a call of a custom tool; of one that was cut off, what there is. */
export function customInput(json: string): string {
  const whole = parsed(json);
  if (typeof whole === 'object' && whole !== null && 'input' in whole && typeof whole.input === 'string')
    return whole.input;
  const head = /^\s*\{\s*"input"\s*:\s*"/.exec(json);
  if (head === null) return '';
  let end = head[0].length;
  while (end < json.length && json[end] !== '"') {
    const length = json[end] !== '\\' ? 1 : json[end + 1] === 'u' ? 6 : 2;
    if (end + length > json.length) break;
    end += length;
  }
  const text = parsed(`"${json.slice(head[0].length, end)}"`);
  return typeof text === 'string' ? text : '';
}

function parsed(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}
