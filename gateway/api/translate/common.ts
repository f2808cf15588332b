import { randomBytes } from 'node:crypto';
import { create } from '@bufbuild/protobuf';
import { SamplingParamsSchema } from '#gen/stator/engine/v1/generate_pb.ts';
import { SamplingField } from '#gen/stator/model/v1/model_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { ResolvedModel } from '../../models/catalog.ts';
import type { Guided, Sampling, StopOptions } from '../../pipeline/request.ts';
import type { ChatRequestBody } from '../schemas/chat.ts';
import type { CompletionRequestBody } from '../schemas/completion.ts';
import { jsonText } from './json-text.ts';

type Body = ChatRequestBody | CompletionRequestBody;

const mostStops = 32;

/** What any request that streams wants of its answer. */
export interface StreamOptions {
  readonly stream: boolean;
  readonly includeUsage: boolean;
  readonly continuousUsage: boolean;
}

export function streamOptionsOf(body: Body): StreamOptions {
  const stream = body.stream ?? false;
  if (body.stream_options && !stream) {
    throw StatorError.invalid('stream_options', 'Validation: `stream_options` is only allowed with `stream` = true');
  }
  const continuousUsage = body.stream_options?.continuous_usage_stats ?? false;
  return { stream, includeUsage: continuousUsage || (body.stream_options?.include_usage ?? false), continuousUsage };
}

export function samplingOf(body: Body, model: ResolvedModel): Sampling {
  const greedy = body.nvext?.greed_sampling === true;
  const temperature = greedy ? 0 : body.temperature;
  if ((body.n ?? 1) > 1 && temperature === 0) {
    throw StatorError.invalid('n', 'Validation: `n`: more than one choice needs `temperature` > 0');
  }
  const set = <V>(value: V | null | undefined): value is V => value !== null && value !== undefined;
  const seed = set(body.seed) ? BigInt.asUintN(64, BigInt(body.seed)) : chosenSeed(temperature ?? 1, model);
  return create(SamplingParamsSchema, {
    ...(set(temperature) ? { temperature } : {}),
    // Engines take (0, 1]; no more than the likeliest token is what 0 asks for.
    ...(set(body.top_p) && !greedy ? { topP: body.top_p === 0 ? 1e-9 : body.top_p } : {}),
    ...(set(body.top_k) ? { topK: body.top_k } : {}),
    ...(set(body.min_p) ? { minP: body.min_p } : {}),
    ...(set(body.frequency_penalty) ? { frequencyPenalty: body.frequency_penalty } : {}),
    ...(set(body.presence_penalty) ? { presencePenalty: body.presence_penalty } : {}),
    ...(set(body.repetition_penalty) ? { repetitionPenalty: body.repetition_penalty } : {}),
    ...(seed === undefined ? {} : { seed }),
    logitBias: logitBiasOf(body, model),
  });
}

/** A migrated request continues as it would have only if the seed is known, so one is chosen where the model honours it. */
function chosenSeed(temperature: number, model: ResolvedModel): bigint | undefined {
  const honoured = model.entry.card.capabilities?.samplingFields.includes(SamplingField.SEED) ?? false;
  return honoured && temperature > 0 ? randomBytes(8).readBigUInt64LE() : undefined;
}

function logitBiasOf(body: Body, model: ResolvedModel): Record<number, number> {
  const bias: Record<number, number> = {};
  for (const [key, value] of Object.entries(body.logit_bias ?? {})) {
    const tokenId = Number(key);
    checkTokenId(tokenId, `logit_bias.${key}`, model);
    bias[tokenId] = value;
  }
  return bias;
}

/** Refuses ids that are not in the vocabulary. */
export function checkTokenId(tokenId: number, field: string, model: ResolvedModel): void {
  const size = model.entry.card.tokenizer?.vocabSize ?? 0;
  if (tokenId <= 0xffff_ffff && (size === 0 || tokenId < size)) return;
  throw StatorError.invalid(
    field,
    `Validation: \`${field}\`: token id ${tokenId} is not in the vocabulary (${size} tokens)`,
  );
}

export function checkTokenIds(tokenIds: readonly number[], field: string, model: ResolvedModel): void {
  const size = model.entry.card.tokenizer?.vocabSize ?? 0;
  if (size === 0) return;
  const index = tokenIds.findIndex((tokenId) => tokenId >= size);
  if (index >= 0) checkTokenId(tokenIds[index] ?? 0, `${field}[${index}]`, model);
}

export function stopOf(body: Body, maxTokens: number | null, model: ResolvedModel): StopOptions {
  const entries = typeof body.stop === 'string' ? [body.stop] : (body.stop ?? []);
  const stopStrings = entries.filter((entry) => typeof entry === 'string');
  const stopTokenIds = [...entries.filter((entry) => typeof entry === 'number'), ...(body.stop_token_ids ?? [])];
  if (stopStrings.length + stopTokenIds.length > mostStops) {
    throw StatorError.invalid(
      'stop',
      `Validation: \`stop\` and \`stop_token_ids\` may hold ${mostStops} entries together`,
    );
  }
  checkTokenIds(stopTokenIds, 'stop_token_ids', model);
  const minTokens = body.min_tokens ?? 0;
  if (maxTokens !== null && minTokens > maxTokens) {
    throw StatorError.invalid(
      'min_tokens',
      `Validation: \`min_tokens\`: ${minTokens} is more than \`max_tokens\` (${maxTokens})`,
    );
  }
  const includeStopString = body.include_stop_str_in_output ?? false;
  return { maxTokens, minTokens, stopTokenIds, ignoreEos: body.ignore_eos ?? false, stopStrings, includeStopString };
}

/** Alternatives at each place of the prompt; the `nvext` of an answer has at least the prompt's own tokens. */
export function promptLogprobsOf(body: Body): number | null {
  return body.prompt_logprobs ?? (body.nvext?.extra_fields?.includes('prompt_logprobs') ? 0 : null);
}

/** Constraints that are JSON text must be JSON. */
function checkJson(guided: Guided, field: string): void {
  if (guided.case !== 'jsonSchema' && guided.case !== 'structuralTag') return;
  try {
    JSON.parse(guided.value);
  } catch (cause) {
    throw StatorError.invalid(field, `Validation: \`${field}\`: must be JSON`, { cause });
  }
}

/** The constraint of the `guided_*` fields and the field it came from. */
export function guidedOf(body: Body): { guided: Guided; field: string } | null {
  const found: { guided: Guided; field: string }[] = [];
  if (body.guided_json) {
    const value = typeof body.guided_json === 'string' ? body.guided_json : jsonText(body.guided_json, 'guided_json');
    found.push({ guided: { case: 'jsonSchema', value }, field: 'guided_json' });
  }
  if (body.guided_regex) found.push({ guided: { case: 'regex', value: body.guided_regex }, field: 'guided_regex' });
  if (body.guided_grammar)
    found.push({ guided: { case: 'grammar', value: body.guided_grammar }, field: 'guided_grammar' });
  if (body.guided_choice) {
    found.push({ guided: { case: 'choice', value: { choices: body.guided_choice } }, field: 'guided_choice' });
  }
  if (body.structural_tag) {
    const tag = body.structural_tag;
    const value = typeof tag === 'string' ? tag : jsonText(tag, 'structural_tag');
    found.push({ guided: { case: 'structuralTag', value }, field: 'structural_tag' });
  }
  for (const { guided, field } of found) checkJson(guided, field);
  const [first, second] = found;
  if (first !== undefined && second !== undefined) {
    throw StatorError.invalid(
      second.field,
      `Validation: \`${second.field}\` cannot be combined with \`${first.field}\``,
    );
  }
  return first ?? null;
}
