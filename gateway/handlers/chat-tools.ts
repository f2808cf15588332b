import type { ToolSchema } from '#core/parsing/context.ts';
import type { ToolChoice } from '#core/parsing/document.ts';
import type { Tool } from '#gen/stator/chat/v1/chat_pb.ts';
import { type ChatRequest, ToolChoice_Mode } from '#gen/stator/inference/v1/inference_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { forcedSchema } from '../parsing/forced-calls.ts';
import type { ModelFormats } from '../parsing/formats.ts';
import { needsParsing, type ParsingWishes } from '../parsing/wishes.ts';
import type { Guided } from '../pipeline/request.ts';

/** What a typed chat request asks of its answer besides text. */
export interface ChatShape {
  /** What the template gets; empty where none may be called. */
  readonly tools: Tool[];
  readonly parsing: ParsingWishes | null;
  /** The calls that are forced. */
  readonly forced: Guided | null;
}

/** Refuses choices that contradict the tools, and tools whose calls nobody would recognise. */
export function chatShapeOf(request: ChatRequest, formats: ModelFormats, model: string): ChatShape {
  const choice = choiceOf(request);
  const tools = choice.mode === 'none' ? [] : request.tools;
  const schemas = tools.map(toolSchema);
  if (choice.mode === 'auto' && formats.tool === null) {
    throw StatorError.unsupported(
      'tools',
      `\`tools\` is not supported by the model \`${model}\`: it has no parser for them`,
    );
  }
  const parallel = request.parallelToolCalls ?? true;
  const schema = forcedSchema(schemas, choice, parallel);
  const guided = request.options?.guided?.constraint.case;
  const wishes: ParsingWishes = {
    formats,
    tools: schemas,
    toolChoice: choice,
    parallelToolCalls: parallel,
    structured: schema !== null || guided === 'jsonSchema' || guided === 'jsonObject',
    thinking: null,
    continuesReasoning: request.continueFinalMessage ? false : null,
    showReasoning: !request.hideReasoning,
    fillsContent: false,
  };
  return {
    tools,
    parsing: needsParsing(wishes) ? wishes : null,
    forced: schema === null ? null : { case: 'jsonSchema', value: JSON.stringify(schema) },
  };
}

function choiceOf({ tools, toolChoice }: ChatRequest): ToolChoice {
  const choice = toolChoice?.choice;
  if (choice?.case === 'function') {
    const name = choice.value;
    if (tools.some((tool) => tool.name === name)) return { mode: 'named', name };
    throw StatorError.invalid('tool_choice.function', `\`tool_choice.function\`: \`${name}\` is not among \`tools\``);
  }
  const mode = choice?.value ?? ToolChoice_Mode.AUTO;
  if (mode === ToolChoice_Mode.REQUIRED && tools.length === 0) {
    throw StatorError.invalid('tool_choice.mode', '`tool_choice.mode`: calls are required, but there are no `tools`');
  }
  if (tools.length === 0 || mode === ToolChoice_Mode.NONE) return { mode: 'none' };
  return { mode: mode === ToolChoice_Mode.REQUIRED ? 'required' : 'auto' };
}

function toolSchema({ name, parametersJson }: Tool, index: number): ToolSchema {
  if (parametersJson === '') return { name };
  try {
    return { name, parameters: JSON.parse(parametersJson) as unknown };
  } catch (cause) {
    const field = `tools[${index}].parameters_json`;
    throw StatorError.invalid(field, `\`${field}\` is not JSON`, { cause });
  }
}
