import type { GenerateRequest, GuidedDecoding } from '#gen/stator/engine/v1/generate_pb.ts';
import { GuidedMode, type ModelCard, Task } from '#gen/stator/model/v1/model_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { checkSampling } from './validate-sampling.ts';

const guidedModes: Readonly<Record<NonNullable<GuidedDecoding['constraint']['case']>, GuidedMode>> = {
  jsonSchema: GuidedMode.JSON_SCHEMA,
  regex: GuidedMode.REGEX,
  grammar: GuidedMode.GRAMMAR,
  choice: GuidedMode.CHOICE,
  jsonObject: GuidedMode.JSON_OBJECT,
  structuralTag: GuidedMode.STRUCTURAL_TAG,
};

/** Checks a sequence against what the card promises. Throws StatorError that names the field at fault. */
export function checkGenerateRequest(request: GenerateRequest, card: ModelCard, nowUnixMs: number): void {
  const tasks = card.capabilities?.tasks ?? [];
  if (!tasks.includes(Task.CHAT) && !tasks.includes(Task.COMPLETION))
    throw StatorError.unsupported('model', `model ${card.name} does not generate`);
  if (request.deadlineUnixMs > 0n && request.deadlineUnixMs <= BigInt(nowUnixMs))
    throw new StatorError('deadline_exceeded', 'the deadline has passed already', { field: 'deadline_unix_ms' });
  checkTokens(request.tokenIds, card, 'token_ids');
  if (request.resumedOutputTokens > request.tokenIds.length)
    throw StatorError.invalid('resumed_output_tokens', 'resumed_output_tokens exceeds the number of token_ids');
  checkStop(request, card);
  checkSampling(request.sampling, card);
  checkOutput(request, card);
  checkCapabilities(request, card);
  checkRank(request, card);
}

/** Checks token ids of a prompt: there are some, the vocabulary has them, and the context has room for one more. */
export function checkTokens(tokenIds: readonly number[], card: ModelCard, field: string, room = 1): void {
  if (tokenIds.length === 0) throw StatorError.invalid(field, `${field} must not be empty`);
  checkVocabulary(tokenIds, card, field);
  const limit = card.limits?.contextLength ?? 0;
  const actual = tokenIds.length;
  if (limit === 0 || actual + room <= limit) return;
  const message = `${field} has ${actual} tokens; the context of ${card.name} holds ${limit}`;
  throw new StatorError('context_length_exceeded', message, { field, facts: { limit, actual } });
}

function checkVocabulary(tokenIds: readonly number[], card: ModelCard, field: string): void {
  const size = card.tokenizer?.vocabSize ?? 0;
  if (size === 0) return;
  const at = tokenIds.findIndex((tokenId) => tokenId >= size);
  if (at < 0) return;
  throw StatorError.invalid(`${field}[${at}]`, `token id ${tokenIds[at]} is beyond the vocabulary of ${size} tokens`);
}

function checkStop({ stop }: GenerateRequest, card: ModelCard): void {
  if (stop === undefined) return;
  const { maxTokens, minTokens = 0 } = stop;
  if (maxTokens === 0) throw StatorError.invalid('stop.max_tokens', 'stop.max_tokens must be at least 1');
  const limit = card.limits?.maxOutputTokens ?? 0;
  if (limit > 0 && (maxTokens ?? 0) > limit)
    throw StatorError.invalid('stop.max_tokens', `stop.max_tokens must be at most ${limit} for model ${card.name}`);
  if (maxTokens !== undefined && minTokens > maxTokens)
    throw StatorError.invalid('stop.min_tokens', `stop.min_tokens ${minTokens} exceeds stop.max_tokens ${maxTokens}`);
  checkVocabulary(stop.stopTokenIds, card, 'stop.stop_token_ids');
}

function checkOutput({ output }: GenerateRequest, card: ModelCard): void {
  if (output?.topLogprobs !== undefined) checkLogprobs('output.top_logprobs', output.topLogprobs, card);
  if (output?.promptLogprobs === undefined) return;
  if (card.capabilities?.promptLogprobs !== true)
    throw StatorError.unsupported(
      'output.prompt_logprobs',
      `model ${card.name} gives no log-probabilities of the prompt`,
    );
  checkLogprobs('output.prompt_logprobs', output.promptLogprobs, card);
}

function checkLogprobs(field: string, count: number, card: ModelCard): void {
  const most = card.capabilities?.maxTopLogprobs ?? 0;
  if (most === 0) throw StatorError.unsupported(field, `model ${card.name} gives no log-probabilities`);
  if (count > most) throw StatorError.invalid(field, `${field} must be at most ${most} for model ${card.name}`);
}

function checkCapabilities(request: GenerateRequest, card: ModelCard): void {
  const { capabilities } = card;
  const constraint = request.guided?.constraint.case;
  if (constraint !== undefined && capabilities?.guidedModes.includes(guidedModes[constraint]) !== true)
    throw StatorError.unsupported(`guided.${constraint}`, `model ${card.name} does not constrain output this way`);
  if (request.media.length > 0 && (capabilities?.modalities ?? []).length === 0)
    throw StatorError.unsupported('media', `model ${card.name} reads no media`);
  if (request.cache?.keepSeconds !== undefined && capabilities?.keepsPrompts !== true)
    throw StatorError.unsupported('cache.keep_seconds', `model ${card.name} keeps no prompts on demand`);
  if (capabilities?.kvTransfer === true) return;
  if (request.handoff !== undefined)
    throw StatorError.unsupported('handoff', `model ${card.name} takes no KV from elsewhere`);
  if (request.prefillOnly) throw StatorError.unsupported('prefill_only', `model ${card.name} does not hand KV over`);
}

function checkRank({ dataParallelRank }: GenerateRequest, card: ModelCard): void {
  if (dataParallelRank === undefined) return;
  const first = card.parallelism?.dataStartRank ?? 0;
  const last = first + Math.max(1, card.parallelism?.data ?? 1) - 1;
  if (dataParallelRank >= first && dataParallelRank <= last) return;
  throw StatorError.invalid('data_parallel_rank', `rank ${dataParallelRank} is not one of ${first} to ${last}`);
}
