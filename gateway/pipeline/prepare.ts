import { create } from '@bufbuild/protobuf';
import type { ReasoningStart } from '#core/parsing/document.ts';
import { Detokenizer } from '#core/tokens/detokenizer.ts';
import { StopMatcher } from '#core/tokens/stop-matcher.ts';
import {
  type GenerateRequest,
  GenerateRequestSchema,
  type MediaSlot,
  type PositionLogprobs,
} from '#gen/stator/engine/v1/generate_pb.ts';
import { GuidedMode, type ModelCard } from '#gen/stator/model/v1/model_pb.ts';
import { PreprocessRequestSchema } from '#gen/stator/tokenizer/v1/tokenizer_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { afterReasoning } from '../parsing/after-reasoning.ts';
import { shallow } from '../parsing/constraint.ts';
import { markupOf } from '../parsing/formats.ts';
import { createAnswerParser, reasoningStart } from '../parsing/wishes.ts';
import type { ModelTokens } from '../tokenizer/token-tables.ts';
import { Choice } from './choice.ts';
import type { Generation } from './generation.ts';
import type { PipelineParts } from './parts.ts';
import type { Placement } from './placement.ts';
import type { GenerationRequest, Guided } from './request.ts';

/** More than any format's marker and the white space around it. */
const tailTokens = 48;

/** A prompt as engines take it. */
export interface PreparedPrompt {
  readonly tokenIds: readonly number[];
  /** Packed, see core/tokens/packed-hashes.ts. */
  readonly localHashes: Uint8Array;
  readonly sequenceHashes: Uint8Array;
  readonly kvBlockSize: number;
  readonly media: MediaSlot[];
  /** Rendered text, where it was asked for. */
  readonly text: string;
  /** Most output tokens of a choice. */
  readonly maxTokens: number;
  readonly tokens: ModelTokens;
  /** Where answers begin: in reasoning or after it. */
  readonly reasoningStart: ReasoningStart;
  /** What the engine keeps answers to. */
  readonly guided: Guided | null;
  /** Log-probabilities of the prompt once the engine told them. */
  logprobs: readonly PositionLogprobs[] | null;
}

/** Renders, encodes and measures a prompt; throws StatorError with the client's own field. */
export async function preparePrompt(
  parts: PipelineParts,
  request: GenerationRequest,
  signal: AbortSignal,
): Promise<PreparedPrompt> {
  const { card } = request.model.entry;
  const prompt = await promptWithMedia(parts, request, signal);
  const [prepared, tokens] = await Promise.all([
    parts.tokenizer.preprocess(
      create(PreprocessRequestSchema, {
        model: request.model.entry.name,
        prompt,
        cacheSalt: request.cacheSalt,
        adapter: request.model.adapter,
        returnText: request.returnPromptText,
      }),
      { signal },
    ),
    parts.tables.get(request.model.entry, signal),
  ]);
  if (prepared.tokenIds.length === 0) throw StatorError.invalid('prompt', 'The prompt has no tokens.');
  const start =
    request.parsing === null ? 'content' : reasoningStart(request.parsing, promptTail(prepared.tokenIds, tokens));
  return {
    tokenIds: prepared.tokenIds,
    localHashes: prepared.localHashes,
    sequenceHashes: prepared.sequenceHashes,
    kvBlockSize: prepared.kvBlockSize,
    media: prepared.media,
    text: request.returnPromptText ? promptText(request, prepared.text, prepared.tokenIds, tokens) : '',
    maxTokens: outputBudget(card, request, prepared.tokenIds.length),
    tokens,
    reasoningStart: start,
    guided: guidedAfterReasoning(request, start),
    logprobs: null,
  };
}

/** Media are fetched for models that read them; of others the request was refused already. */
async function promptWithMedia(
  parts: PipelineParts,
  { prompt, model }: GenerationRequest,
  signal: AbortSignal,
): Promise<GenerationRequest['prompt']> {
  if (prompt.case !== 'chat' || (model.entry.card.capabilities?.modalities ?? []).length === 0) return prompt;
  return { case: 'chat', value: await parts.media.load(prompt.value, signal) };
}

/** The prompt as text: rendered, as the client wrote it, or decoded from its ids. */
function promptText(
  request: GenerationRequest,
  rendered: string,
  tokenIds: readonly number[],
  tokens: ModelTokens,
): string {
  if (request.prompt.case === 'chat') return rendered;
  if (request.prompt.case === 'text') return request.prompt.value.text;
  const detokenizer = new Detokenizer(tokens.table, { specialTokens: request.specialTokens });
  let text = '';
  for (const tokenId of tokenIds) text += detokenizer.push(tokenId);
  return text + detokenizer.end();
}

/** Most output tokens: what was asked for, or what the context leaves. */
function outputBudget(card: ModelCard, request: GenerationRequest, promptTokens: number): number {
  const field = request.prompt.case === 'chat' ? 'messages' : 'prompt';
  const context = card.limits?.contextLength ?? 0;
  const { maxTokens, fitsContext } = request.stop;
  const fits = fitsContext === true && context > promptTokens && maxTokens !== null;
  const asked = fits ? Math.min(maxTokens, context - promptTokens) : maxTokens;
  const mostOutput = card.limits?.maxOutputTokens ?? 0;
  const wanted = asked ?? 0;
  if (context > 0 && (promptTokens >= context || promptTokens + wanted > context)) {
    const outputs = asked === null ? '' : ` and ${asked} tokens of output`;
    throw new StatorError(
      'context_length_exceeded',
      `This model's maximum context length is ${context} tokens. However, the request has ${promptTokens} tokens of prompt${outputs}.`,
      { field, facts: { limit: context, actual: promptTokens + wanted } },
    );
  }
  if (mostOutput > 0 && wanted > mostOutput) {
    throw StatorError.invalid(
      'max_tokens',
      `This model gives at most ${mostOutput} tokens of output; ${wanted} were asked for.`,
    );
  }
  if (asked !== null) return asked;
  const left = context > 0 ? context - promptTokens : 0xffff_ffff;
  return mostOutput > 0 ? Math.min(left, mostOutput) : left;
}

/** The choices of a prompt, the first with number `firstIndex`. */
export function createChoices(request: GenerationRequest, prompt: PreparedPrompt, firstIndex: number): Choice[] {
  const { stop, parsing } = request;
  const { tokens } = prompt;
  const table = parsing === null ? tokens.table : tokens.tableWith(markupOf(parsing.formats));
  return Array.from({ length: request.choices }, (_, number) => {
    const detokenizer = new Detokenizer(table, { specialTokens: request.specialTokens });
    const stops =
      stop.stopStrings.length === 0 ? null : new StopMatcher(stop.stopStrings, { include: stop.includeStopString });
    const parser = parsing === null ? null : createAnswerParser(parsing, prompt.reasoningStart);
    return new Choice(firstIndex + number, { detokenizer, stops, minTokens: stop.minTokens, parser });
  });
}

/** The constraint, with room for reasoning where the engine can leave it. */
function guidedAfterReasoning(request: GenerationRequest, start: ReasoningStart): Guided | null {
  const { guided, parsing, model } = request;
  const modes = model.entry.card.capabilities?.guidedModes ?? [];
  if (guided === null || parsing === null || !modes.includes(GuidedMode.STRUCTURAL_TAG)) return guided;
  return shallow(() => afterReasoning(guided, parsing.formats.reasoning, start), request.guidedField);
}

/** Engines that keep nothing on demand are not told to: what only hints at it loses nothing but time. */
function keepOf({ agent, model }: GenerationRequest): { keepSeconds?: number } {
  const keeps = model.entry.card.capabilities?.keepsPrompts === true;
  return keeps && agent.keepSeconds !== null ? { keepSeconds: agent.keepSeconds } : {};
}

/** The end of a prompt as text, long enough to show whether it leaves reasoning open. */
function promptTail(tokenIds: readonly number[], tokens: ModelTokens): string {
  const detokenizer = new Detokenizer(tokens.table, { specialTokens: true });
  let text = '';
  for (const tokenId of tokenIds.slice(-tailTokens)) text += detokenizer.push(tokenId);
  return text;
}

/** What a worker is asked for: the prompt, and after a migration the output that the client has already. */
export function buildGenerateRequest(generation: Generation, choice: Choice, placement: Placement): GenerateRequest {
  const { request, prompt } = generation;
  const delivered = choice.tokenIds;
  const fresh = delivered.length === 0;
  const number = generation.choices.indexOf(choice);
  const { sampling, stop } = request;
  return create(GenerateRequestSchema, {
    requestId: placement.routeId,
    model: request.model.entry.name,
    tokenIds: fresh ? [...prompt.tokenIds] : [...prompt.tokenIds, ...delivered],
    sampling: {
      ...sampling,
      ...(sampling.seed === undefined ? {} : { seed: BigInt.asUintN(64, sampling.seed + BigInt(number)) }),
    },
    stop: {
      maxTokens: prompt.maxTokens - delivered.length,
      minTokens: stop.minTokens,
      stopTokenIds: [...stop.stopTokenIds],
      ignoreEos: stop.ignoreEos,
    },
    output: {
      ...(request.topLogprobs === null ? {} : { topLogprobs: request.topLogprobs }),
      ...(request.promptLogprobs === null || !fresh || number > 0 ? {} : { promptLogprobs: request.promptLogprobs }),
    },
    ...(prompt.guided === null ? {} : { guided: { constraint: prompt.guided } }),
    cache: {
      cacheSalt: request.cacheSalt,
      kvBlockSize: prompt.kvBlockSize,
      ...keepOf(request),
      ...(fresh ? { localHashes: prompt.localHashes, sequenceHashes: prompt.sequenceHashes } : {}),
    },
    adapter: request.model.adapter,
    media: prompt.media,
    dataParallelRank: placement.dataParallelRank,
    priority: request.priority,
    deadlineUnixMs: request.timeoutMs === 0 ? 0n : BigInt(Date.now() + request.timeoutMs),
    resumedOutputTokens: delivered.length,
    traceparent: request.traceparent,
    tracestate: request.tracestate,
  });
}
