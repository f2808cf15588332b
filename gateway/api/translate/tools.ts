import type { ToolChoice } from '#core/parsing/document.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { OfferedTool } from '../../parsing/constraint.ts';
import type { ModelFormats } from '../../parsing/formats.ts';
import type { ChatRequestBody } from '../schemas/chat.ts';

type Tools = NonNullable<ChatRequestBody['tools']>;

/** The tools of a request, as far as the model may call them. */
export interface OfferedTools {
  /** What the template gets; empty where none may be called. */
  readonly tools: Tools;
  readonly choice: ToolChoice;
  readonly parallel: boolean;
}

const noTools: OfferedTools = { tools: [], choice: { mode: 'none' }, parallel: true };

/** Refuses choices that contradict the tools, and tools that nobody would recognise the model's calls of. */
export function offeredToolsOf(body: ChatRequestBody, formats: ModelFormats, model: string): OfferedTools {
  const all = body.tools ?? [];
  checkNames(all);
  const { tool_choice: asked } = body;
  const restricted = typeof asked === 'object' && asked !== null && asked.type === 'allowed_tools' ? asked : null;
  const tools = restricted === null ? all : allowedTools(all, restricted.allowed_tools.tools);
  const choice = choiceOf(restricted === null ? asked : restricted.allowed_tools.mode, tools);
  if (choice.mode === 'none') return noTools;
  if (choice.mode === 'auto' && formats.tool === null) throw noFormat(formats, model);
  return { tools, choice, parallel: body.parallel_tool_calls ?? true };
}

/** What parsing and constraints must know of the tools. */
export function offeredSchemasOf(tools: Tools): OfferedTool[] {
  return tools.map(({ function: { name, parameters, strict } }) => ({
    name,
    strict: strict ?? false,
    ...(parameters ? { parameters } : {}),
  }));
}

function choiceOf(asked: ChatRequestBody['tool_choice'] | 'auto' | 'required', tools: Tools): ToolChoice {
  if (typeof asked === 'object' && asked !== null && asked.type === 'function') {
    const { name } = asked.function;
    requireTool(tools, name, 'tool_choice');
    return { mode: 'named', name };
  }
  if (asked === 'required' && tools.length === 0) {
    throw StatorError.invalid('tool_choice', 'Validation: `tool_choice`: `required` needs `tools`');
  }
  if (tools.length === 0 || asked === 'none') return { mode: 'none' };
  return { mode: asked === 'required' ? 'required' : 'auto' };
}

function allowedTools(all: Tools, named: readonly { readonly function: { readonly name: string } }[]): Tools {
  for (const [index, entry] of named.entries()) {
    requireTool(all, entry.function.name, `tool_choice.allowed_tools.tools[${index}].function.name`);
  }
  const names = new Set(named.map((entry) => entry.function.name));
  return all.filter((tool) => names.has(tool.function.name));
}

function requireTool(tools: Tools, name: string, field: string): void {
  if (tools.some((tool) => tool.function.name === name)) return;
  throw StatorError.invalid(field, `Validation: \`${field}\`: the tool \`${name}\` is not among \`tools\``);
}

function checkNames(tools: Tools): void {
  const seen = new Set<string>();
  for (const [index, tool] of tools.entries()) {
    const { name } = tool.function;
    const field = `tools[${index}].function.name`;
    if (seen.has(name)) throw StatorError.invalid(field, `Validation: \`${field}\`: two tools are named \`${name}\``);
    seen.add(name);
  }
}

function noFormat({ unknownTool }: ModelFormats, model: string): StatorError {
  const because =
    unknownTool === ''
      ? 'it has no parser for tool calls'
      : `its parser for tool calls, \`${unknownTool}\`, does not exist`;
  return StatorError.unsupported('tools', `\`tools\` is not supported by the model \`${model}\`: ${because}`);
}
