import { GuidedMode, type ModelCard } from '#gen/stator/model/v1/model_pb.ts';
import { testCard } from './harness.ts';

const guidedModes = [
  GuidedMode.JSON_SCHEMA,
  GuidedMode.JSON_OBJECT,
  GuidedMode.REGEX,
  GuidedMode.CHOICE,
  GuidedMode.GRAMMAR,
  GuidedMode.STRUCTURAL_TAG,
];

/** A card of a model that thinks and calls tools as Qwen 3 does, and is constrained by whatever is asked for. */
export function toolCard(changes: Partial<ModelCard> = {}): ModelCard {
  const card = testCard({ toolCallParser: 'hermes', reasoningParser: 'qwen3', ...changes });
  if (card.capabilities !== undefined) card.capabilities.guidedModes = [...guidedModes];
  return card;
}

export const weatherTool = {
  type: 'function' as const,
  function: {
    name: 'get_weather',
    description: 'The weather of a city.',
    parameters: {
      type: 'object',
      properties: { city: { type: 'string' }, days: { type: 'integer' } },
      required: ['city'],
    },
  },
};

export const timeTool = {
  type: 'function' as const,
  function: { name: 'get_time', parameters: { type: 'object', properties: {} } },
};

/** A call as the Hermes format writes it. */
export function hermesCall(name: string, args: object): string {
  return `<tool_call>\n${JSON.stringify({ name, arguments: args })}\n</tool_call>`;
}

export interface ToolMessage {
  readonly role: string;
  readonly content: string | null;
  readonly reasoning_content?: string;
  readonly reasoning?: string;
  readonly tool_calls?: { id: string; type: string; function: { name: string; arguments: string } }[];
}

export interface ToolAnswer {
  readonly choices: {
    readonly index: number;
    readonly message: ToolMessage;
    readonly logprobs: { readonly content: { token: string }[] } | null;
    readonly finish_reason: string;
  }[];
  readonly usage: { completion_tokens: number; completion_tokens_details: { reasoning_tokens: number } };
}

interface ToolDelta {
  readonly role?: string;
  readonly content?: string;
  readonly reasoning_content?: string;
  readonly tool_calls?: {
    readonly index: number;
    readonly id?: string;
    readonly function: { readonly name?: string; readonly arguments: string };
  }[];
}

export interface ToolChunk {
  readonly choices: {
    readonly index: number;
    readonly delta: ToolDelta;
    readonly logprobs: { readonly content: { token: string }[] } | null;
    readonly finish_reason: string | null;
  }[];
}

/** What a client makes of the chunks of one choice. */
export interface Assembled {
  content: string;
  reasoning: string;
  readonly calls: { id: string; name: string; arguments: string; pieces: number }[];
  readonly tokens: string[];
  finish: string | null;
}

export function assemble(chunks: readonly ToolChunk[], index = 0): Assembled {
  const whole: Assembled = { content: '', reasoning: '', calls: [], tokens: [], finish: null };
  for (const choice of chunks.flatMap(({ choices }) => choices)) {
    if (choice.index !== index) continue;
    whole.content += choice.delta.content ?? '';
    whole.reasoning += choice.delta.reasoning_content ?? '';
    for (const { token } of choice.logprobs?.content ?? []) whole.tokens.push(token);
    whole.finish = choice.finish_reason ?? whole.finish;
    for (const call of choice.delta.tool_calls ?? []) addCall(whole.calls, call);
  }
  return whole;
}

function addCall(calls: Assembled['calls'], part: NonNullable<ToolDelta['tool_calls']>[number]): void {
  const known = calls[part.index];
  if (known !== undefined) {
    known.arguments += part.function.arguments;
    known.pieces++;
    return;
  }
  if (part.index !== calls.length) throw new Error(`call ${part.index} begins out of order`);
  calls.push({ id: part.id ?? '', name: part.function.name ?? '', arguments: part.function.arguments, pieces: 1 });
}
