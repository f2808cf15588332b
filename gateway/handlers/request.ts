import { randomBytes, randomUUID } from 'node:crypto';
import { create } from '@bufbuild/protobuf';
import type { HandlerContext } from '@connectrpc/connect';
import { servesApart } from '#core/models/serving.ts';
import { SamplingParamsSchema } from '#gen/stator/engine/v1/generate_pb.ts';
import type { GenerationOptions } from '#gen/stator/inference/v1/inference_pb.ts';
import { SamplingField } from '#gen/stator/model/v1/model_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { agentFactsOf } from '../agents/facts.ts';
import { type HeaderWishes, headerWishes } from '../api/translate/header-wishes.ts';
import { cacheSaltOf, routingOf, timeoutOf } from '../api/translate/routing.ts';
import type { ResolvedModel } from '../models/catalog.ts';
import type { NamedConstraint } from '../parsing/constraint.ts';
import type { ParsingWishes } from '../parsing/wishes.ts';
import type { GenerationRequest, RoutingWishes, Sampling, StopOptions } from '../pipeline/request.ts';
import type { TraceContext } from '../telemetry/request-record.ts';

/** Most choices of one request; the same as REST's. */
const mostChoices = 128;

function inRange(field: string, value: number | undefined, min: number, max: number): void {
  if (value === undefined || (value >= min && value <= max)) return;
  throw StatorError.invalid(field, `\`${field}\` must be from ${min} to ${max}, got ${value}`);
}

function samplingOf(options: GenerationOptions | undefined, model: ResolvedModel): Sampling {
  const sampling = options?.sampling ?? create(SamplingParamsSchema);
  const field = (name: string): string => `options.sampling.${name}`;
  inRange(field('temperature'), sampling.temperature, 0, 2);
  inRange(field('top_p'), sampling.topP, 0, 1);
  inRange(field('min_p'), sampling.minP, 0, 1);
  inRange(field('frequency_penalty'), sampling.frequencyPenalty, -2, 2);
  inRange(field('presence_penalty'), sampling.presencePenalty, -2, 2);
  inRange(field('repetition_penalty'), sampling.repetitionPenalty, 1e-6, 2);
  for (const [tokenId, bias] of Object.entries(sampling.logitBias))
    inRange(field(`logit_bias[${tokenId}]`), bias, -100, 100);
  const honoured = model.entry.card.capabilities?.samplingFields.includes(SamplingField.SEED) ?? false;
  if (sampling.seed !== undefined || !honoured || sampling.temperature === 0) return sampling;
  // A migrated request continues as it would have only with a seed.
  return { ...sampling, seed: randomBytes(8).readBigUInt64LE() };
}

function stopOf(options: GenerationOptions | undefined): StopOptions {
  const stop = options?.stop;
  if ((stop?.stopStrings.length ?? 0) > 32)
    throw StatorError.invalid('options.stop.stop_strings', '`options.stop.stop_strings` may hold 32 strings');
  if ((stop?.stopTokenIds.length ?? 0) > 32)
    throw StatorError.invalid('options.stop.stop_token_ids', '`options.stop.stop_token_ids` may hold 32 ids');
  if (stop?.maxTokens === 0)
    throw StatorError.invalid('options.stop.max_tokens', '`options.stop.max_tokens` must be at least 1');
  return {
    maxTokens: stop?.maxTokens ?? null,
    minTokens: stop?.minTokens ?? 0,
    stopTokenIds: stop?.stopTokenIds ?? [],
    ignoreEos: stop?.ignoreEos ?? false,
    stopStrings: stop?.stopStrings ?? [],
    includeStopString: stop?.includeStopString ?? false,
  };
}

/** The constraint that a typed request names. */
export function askedConstraint(options: GenerationOptions | undefined): NamedConstraint | null {
  const guided = options?.guided?.constraint;
  return guided?.case === undefined ? null : { guided, field: 'options.guided' };
}

/** What a typed request asks of the pipeline: the same that REST requests become. */
export function generationOf(
  options: GenerationOptions | undefined,
  model: ResolvedModel,
  prompt: GenerationRequest['prompt'],
  o: { context: HandlerContext; timeoutMs: number; parsing?: ParsingWishes | null; guided?: NamedConstraint | null },
): GenerationRequest {
  const choices = options?.choices || 1;
  inRange('options.choices', choices, 1, mostChoices);
  if (choices > 1 && options?.sampling?.temperature === 0) {
    throw StatorError.invalid('options.choices', 'More than one choice needs `options.sampling.temperature` > 0');
  }
  const headers = headersOf(o.context);
  const stop = stopOf(options);
  const wished = routingOf({}, headers, stop, { nowMs: Date.now(), apart: servesApart(model.entry) });
  const adapter = options?.adapter || model.adapter;
  const guided = o.guided === undefined ? askedConstraint(options) : o.guided;
  return {
    requestId: randomUUID(),
    model: { entry: model.entry, adapter },
    prompt,
    choices,
    sampling: samplingOf(options, model),
    stop,
    topLogprobs: options?.topLogprobs ?? null,
    promptLogprobs: null,
    specialTokens: options?.specialTokens ?? false,
    guided: guided?.guided ?? null,
    guidedField: guided?.field ?? '',
    parsing: o.parsing ?? null,
    cacheSalt: cacheSaltOf({ cache_salt: options?.cacheSalt }, headers),
    priority: headers.priority ?? options?.priority ?? 0,
    routing: {
      ...wished,
      instanceId: wished.instanceId ?? options?.instanceId ?? null,
      queuePriority: headers.priority ?? options?.priority ?? 0,
    },
    agent: agentFactsOf({}, headers.session),
    returnPromptText: false,
    timeoutMs: timeoutOf(headers, o),
    traceparent: headers.traceparent,
    tracestate: headers.tracestate,
  };
}

/** Metadata says the same as REST's headers; the deadline of the call counts like the one that a header names. */
export function headersOf(context: HandlerContext): HeaderWishes {
  const headers = headerWishes([...context.requestHeader].flat());
  const callMs = context.timeoutMs();
  if (callMs === undefined) return headers;
  return { ...headers, timeoutMs: Math.max(1, Math.min(callMs, headers.timeoutMs ?? callMs)) };
}

/** What a call that generates nothing wants of routing. */
export function routedBy(context: HandlerContext): { routing: RoutingWishes; trace: TraceContext } {
  const headers = headersOf(context);
  return { routing: routingOf({}, headers, null, { nowMs: Date.now() }), trace: headers };
}
