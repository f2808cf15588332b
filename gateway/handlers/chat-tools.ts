import type { ToolChoice } from '#core/parsing/document.ts';
import type { Tool } from '#gen/stator/chat/v1/chat_pb.ts';
import { type ChatRequest, ToolChoice_Mode } from '#gen/stator/inference/v1/inference_pb.ts';
import { GuidedMode } from '#gen/stator/model/v1/model_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { ModelEntry } from '../models/catalog.ts';
import {
  type AnswerRules,
  answerConstraint,
  type NamedConstraint,
  type OfferedTool,
  trustsStrictTools,
} from '../parsing/constraint.ts';
import { formatsOf } from '../parsing/formats.ts';
import { needsParsing, type ParsingWishes } from '../parsing/wishes.ts';
import { askedConstraint } from './request.ts';

/** What a typed chat request asks of its answer besides text. */
export interface ChatShape {
  /** What the template gets; empty where none may be called. */
  readonly tools: Tool[];
  readonly parsing: ParsingWishes | null;
  readonly guided: NamedConstraint | null;
  /** Whether strict tools are left to the model. */
  readonly trustsStrict: boolean;
}

/** Refuses choices that contradict the tools, and tools whose calls nobody would recognise. */
export function chatShapeOf(request: ChatRequest, { card, name }: ModelEntry, enforceStrict: boolean): ChatShape {
  const formats = formatsOf(card);
  const choice = choiceOf(request);
  const tools = choice.mode === 'none' ? [] : request.tools;
  const schemas = tools.map(toolSchema);
  if (choice.mode === 'auto' && formats.tool === null) {
    const message = `\`tools\` is not supported by the model \`${name}\`: it has no parser for them`;
    throw StatorError.unsupported('tools', message);
  }
  const parallel = request.parallelToolCalls ?? true;
  const rules: AnswerRules = {
    card,
    tools: schemas,
    choice,
    parallel,
    content: askedConstraint(request.options),
    contentOrCalls: true,
    enforceStrict,
    fields: { toolChoice: 'tool_choice', tools: 'tools', strict: (index) => `tools[${index}].strict` },
  };
  const guided = answerConstraint(rules);
  const kind = guided?.guided.case;
  const leavesRoom = card.capabilities?.guidedModes.includes(GuidedMode.STRUCTURAL_TAG) === true;
  const wishes: ParsingWishes = {
    formats,
    tools: schemas,
    toolChoice: choice,
    parallelToolCalls: parallel,
    structured: !leavesRoom && (kind === 'jsonSchema' || kind === 'jsonObject'),
    thinking: null,
    continuesReasoning: request.continueFinalMessage ? false : null,
    showReasoning: !request.hideReasoning,
    fillsContent: false,
  };
  return { tools, parsing: needsParsing(wishes) ? wishes : null, guided, trustsStrict: trustsStrictTools(rules) };
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

function toolSchema({ name, parametersJson, strict = false }: Tool, index: number): OfferedTool {
  if (parametersJson === '') return { name, strict };
  try {
    return { name, strict, parameters: JSON.parse(parametersJson) as unknown };
  } catch (cause) {
    const field = `tools[${index}].parameters_json`;
    throw StatorError.invalid(field, `\`${field}\` is not JSON`, { cause });
  }
}
