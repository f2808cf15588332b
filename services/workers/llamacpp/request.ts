import { randomBytes } from 'node:crypto';
import type { GenerateRequest, SamplingParams } from '#gen/stator/engine/v1/generate_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { SubmitRequest } from '#native/llamacpp/index.ts';
import { maxTopLogprobs } from './card.ts';
import { guidedGrammar } from './grammar.ts';

/** What a request is checked against. */
export interface RequestLimits {
  readonly vocabSize: number;
  readonly contextLength: number;
  readonly modelNames: ReadonlySet<string>;
  readonly adapterNames: ReadonlySet<string>;
  readonly jsonIndent: number;
}

/** A checked request in the addon's form. Throws StatorError that names the field for anything the card does not promise. */
export function toSubmitRequest(handle: number, request: GenerateRequest, limits: RequestLimits): SubmitRequest {
  refuseUnsupported(request);
  const tokenIds = checkedTokens('token_ids', request.tokenIds, limits.vocabSize);
  if (tokenIds.length === 0) throw StatorError.invalid('token_ids', 'The prompt has no tokens.');
  const room = limits.contextLength - tokenIds.length;
  const { stop, output, cache } = request;
  if (room <= 0) {
    throw new StatorError(
      'context_length_exceeded',
      `The prompt has ${tokenIds.length} tokens; the context of ${limits.contextLength} must hold at least one more.`,
      { field: 'token_ids', facts: { limit: limits.contextLength, actual: tokenIds.length } },
    );
  }
  if (request.resumedOutputTokens > tokenIds.length) {
    throw StatorError.invalid('resumed_output_tokens', 'More tokens were resumed than the prompt has.');
  }
  return {
    handle,
    tokenIds,
    resumedOutputTokens: request.resumedOutputTokens,
    maxTokens: Math.min(stop?.maxTokens ?? room, room),
    minTokens: stop?.minTokens ?? 0,
    ignoreEos: stop?.ignoreEos ?? false,
    bypassPrefixCache: cache?.bypassPrefixCache ?? false,
    priority: request.priority,
    stopTokenIds: checkedTokens('stop.stop_token_ids', stop?.stopTokenIds ?? [], limits.vocabSize),
    promptLogprobs: within('output.prompt_logprobs', output?.promptLogprobs, 0, maxTopLogprobs) ?? null,
    adapter: adapterOf(request, limits),
    cacheSalt: cache?.cacheSalt ?? '',
    topLogprobs: within('output.top_logprobs', output?.topLogprobs, 0, maxTopLogprobs) ?? null,
    grammar: guidedGrammar(request.guided, limits),
    ...samplingOf(request.sampling, limits.vocabSize),
  };
}

function refuseUnsupported(request: GenerateRequest): void {
  if (request.media.length > 0) throw StatorError.unsupported('media', 'This engine reads no media.');
  if (request.handoff !== undefined)
    throw StatorError.unsupported('handoff', 'This engine takes no KV from elsewhere.');
  if (request.prefillOnly) throw StatorError.unsupported('prefill_only', 'This engine does not hand KV over.');
  if ((request.dataParallelRank ?? 0) !== 0)
    throw StatorError.invalid('data_parallel_rank', 'This engine has rank 0 only.');
}

function adapterOf(request: GenerateRequest, limits: RequestLimits): string {
  const named = request.model !== '' && !limits.modelNames.has(request.model);
  const adapter = request.adapter !== '' ? request.adapter : named ? request.model : '';
  if (adapter === '' || limits.adapterNames.has(adapter)) return adapter;
  if (request.adapter !== '') throw StatorError.notFound(`Adapter ${adapter} is not loaded.`, { field: 'adapter' });
  throw new StatorError('model_not_found', `This worker does not serve ${request.model}.`, { field: 'model' });
}

type Sampling = Pick<
  SubmitRequest,
  | 'temperature'
  | 'topP'
  | 'topK'
  | 'minP'
  | 'frequencyPenalty'
  | 'presencePenalty'
  | 'repetitionPenalty'
  | 'seed'
  | 'logitBiasTokens'
  | 'logitBiasValues'
>;

function samplingOf(from: SamplingParams | undefined, vocabSize: number): Sampling {
  const at = (name: string) => `sampling.${name}`;
  const biases = Object.entries(from?.logitBias ?? {});
  for (const [token, bias] of biases) within(`${at('logit_bias')}[${token}]`, bias, -100, 100);
  const repetitionPenalty = within(at('repetition_penalty'), from?.repetitionPenalty, 0, 2) ?? 1;
  if (repetitionPenalty === 0) throw StatorError.invalid(at('repetition_penalty'), 'It must be above 0.');
  const topP = within(at('top_p'), from?.topP, 0, 1) ?? 1;
  if (topP === 0) throw StatorError.invalid(at('top_p'), 'It must be above 0.');
  return {
    temperature: within(at('temperature'), from?.temperature, 0, 100) ?? 1,
    topP,
    topK: within(at('top_k'), from?.topK, -1, 2 ** 31 - 1) ?? 0,
    minP: within(at('min_p'), from?.minP, 0, 1) ?? 0,
    frequencyPenalty: within(at('frequency_penalty'), from?.frequencyPenalty, -2, 2) ?? 0,
    presencePenalty: within(at('presence_penalty'), from?.presencePenalty, -2, 2) ?? 0,
    repetitionPenalty,
    seed: from?.seed ?? randomBytes(8).readBigUInt64LE(),
    logitBiasTokens: checkedTokens(
      at('logit_bias'),
      biases.map(([token]) => Number(token)),
      vocabSize,
    ),
    logitBiasValues: Float32Array.from(biases, ([, bias]) => bias),
  };
}

function within(field: string, value: number | undefined, minimum: number, maximum: number): number | undefined {
  if (value === undefined || (value >= minimum && value <= maximum)) return value;
  throw StatorError.invalid(field, `It must be from ${minimum} to ${maximum}, not ${value}.`);
}

export function checkedTokens(field: string, tokenIds: ArrayLike<number>, vocabSize: number): Uint32Array {
  const tokens = Uint32Array.from(tokenIds);
  const wrong = tokens.findIndex((token) => token >= vocabSize);
  if (wrong < 0) return tokens;
  throw StatorError.invalid(
    `${field}[${wrong}]`,
    `Token ${tokens[wrong]} is not in the vocabulary of ${vocabSize} tokens.`,
  );
}
