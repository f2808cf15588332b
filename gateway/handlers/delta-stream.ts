import { create, type MessageInitShape } from '@bufbuild/protobuf';
import type { HandlerContext } from '@connectrpc/connect';
import {
  FinishReason,
  type PositionLogprobs,
  type TokenLogprob,
  type Usage,
  UsageSchema,
} from '#gen/stator/engine/v1/generate_pb.ts';
import {
  type ChoiceDelta,
  ChoiceDeltaSchema,
  type GenerationOptions,
  type Routing,
  RoutingSchema,
  type TextLogprob,
  TextLogprobSchema,
  type Timing,
  TimingSchema,
  type ToolCallDeltaSchema,
} from '#gen/stator/inference/v1/inference_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { GatewayContext } from '../context.ts';
import { usageOf } from '../output/usage.ts';
import { foldParts, type AnswerPart as ParsedPart } from '../parsing/parts.ts';
import type { Choice } from '../pipeline/choice.ts';
import { type DryRun, dryRun } from '../pipeline/dry-run.ts';
import type { Generation } from '../pipeline/generation.ts';
import type { GenerationRequest } from '../pipeline/request.ts';
import { runRequests } from '../pipeline/run.ts';
import { timingOf } from '../pipeline/timing.ts';
import { Waker } from '../pipeline/waker.ts';
import { RequestRecord } from '../telemetry/request-record.ts';
import type { ModelTokens } from '../tokenizer/token-tables.ts';

/** A part of an answer: new parts of choices, and what was asked for besides. */
export interface AnswerPart {
  readonly deltas: ChoiceDelta[];
  /** In the last part only. */
  readonly usage?: Usage;
  readonly timing?: Timing;
  /** Before the first delta. */
  readonly routing?: Routing;
}

export interface DeltaOptions {
  readonly endpoint: 'chat_completions' | 'completions';
  /** What the client asked for. */
  readonly options: GenerationOptions | undefined;
  /** Text in front of every choice. */
  readonly prefix: string;
}

/** Runs a generation for a gRPC client, or says where it would run; the client's end of the call ends it in the engine. */
export async function* streamDeltas(
  ctx: GatewayContext,
  request: GenerationRequest,
  context: HandlerContext,
  o: DeltaOptions,
): AsyncGenerator<AnswerPart> {
  const { requestId } = request;
  const path = `/${context.service.typeName}/${context.method.name}`;
  const record = new RequestRecord(ctx, {
    endpoint: o.endpoint,
    requestId,
    method: 'POST',
    path,
    traceparent: request.traceparent,
  });
  record.identified(request.model.entry.name, 'stream');
  const waker = new Waker();
  let cancel: () => void = () => {};
  try {
    if (ctx.draining.aborted) throw new StatorError('draining', 'The gateway is shutting down. Retry elsewhere.');
    const traced = { ...request, ...record.traceContext(request) };
    const { signal } = context;
    if (o.options?.dryRun === true) {
      const routed = await record.within(() => dryRun(ctx.pipeline, traced, { phase: null, signal }));
      yield dryRunPart(routed, o.options.explainRouting);
    } else {
      const { receivedMs } = record;
      const explain = o.options?.explainRouting ?? false;
      const run = await record.within(() =>
        runRequests(ctx.pipeline, [traced], waker, { receivedMs, signal, explain }),
      );
      cancel = run.cancel;
      record.running(run.generations);
      const [generation] = run.generations;
      if (generation === undefined) throw new StatorError('internal', 'the run has no generation');
      yield* answer(generation, waker, o);
    }
    record.end(null);
  } catch (thrown) {
    record.end(thrown);
    throw thrown;
  } finally {
    cancel();
    // The caller stopped reading before the end.
    record.end(new StatorError('cancelled', 'The client ended the call.'));
  }
}

/** The one part that answers a dry run. */
function dryRunPart({ decision, costs, prompt }: DryRun, explain: boolean): AnswerPart {
  const told = { ...decision, costs: explain ? [...costs] : [] };
  const routing = create(RoutingSchema, { decision: told, promptTokenIds: [...prompt.tokenIds] });
  return { deltas: [], routing, usage: create(UsageSchema, { promptTokens: prompt.tokenIds.length }) };
}

async function* answer(generation: Generation, waker: Waker, o: DeltaOptions): AsyncGenerator<AnswerPart> {
  const { decision } = generation;
  if (o.options?.explainRouting === true && decision !== null)
    yield { deltas: [], routing: create(RoutingSchema, { decision }) };
  if (o.prefix !== '') yield { deltas: echoes(generation, o.prefix) };
  const closed = new Set<Choice>();
  while (!generation.done || closed.size < generation.choices.length) {
    await waker.wait();
    const deltas: ChoiceDelta[] = [];
    for (const choice of generation.choices) {
      if (closed.has(choice)) continue;
      if (choice.finish?.error) throw choice.finish.error;
      if (choice.finish !== null) closed.add(choice);
      const delta = deltaOf(choice, generation, o.options?.returnTokenIds ?? false);
      if (delta !== null) deltas.push(delta);
    }
    if (closed.size === generation.choices.length) yield { deltas, ...ending(generation, o) };
    else if (deltas.length > 0) yield { deltas };
  }
}

function echoes(generation: Generation, text: string): ChoiceDelta[] {
  return generation.choices.map((choice) => create(ChoiceDeltaSchema, { index: choice.index, text }));
}

function ending(generation: Generation, o: DeltaOptions): Pick<AnswerPart, 'usage' | 'timing'> {
  const usage = create(UsageSchema, usageOf([generation]));
  return o.options?.returnTiming === true ? { usage, timing: timingMessage(generation) } : { usage };
}

function timingMessage(generation: Generation): Timing {
  const { receivedUnixMs, totalMs, ...told } = timingOf(generation);
  const { prefillWaitMs, prefillMs, firstTokenMs, kvHitRate, routerQueueDepth } = told;
  return create(TimingSchema, {
    receivedUnixMs,
    totalMs,
    ...(prefillWaitMs === null ? {} : { prefillWaitMs }),
    ...(prefillMs === null ? {} : { prefillMs }),
    ...(firstTokenMs === null ? {} : { ttftMs: firstTokenMs }),
    ...(kvHitRate === null ? {} : { kvHitRate }),
    ...(routerQueueDepth === null ? {} : { routerQueueDepth }),
  });
}

function deltaOf(choice: Choice, { request, prompt }: Generation, returnTokenIds: boolean): ChoiceDelta | null {
  const tokenIds = returnTokenIds ? choice.tokenIds.slice(choice.takenTokens) : [];
  const produced = choice.hasOutput;
  const parts = choice.takeParts();
  const { finish, worker } = choice;
  const positions = request.topLogprobs === null ? [] : choice.takeLogprobs();
  if (!produced && finish === null && tokenIds.length === 0) return null;
  const { content, reasoning } = foldParts(parts);
  return create(ChoiceDeltaSchema, {
    index: choice.index,
    text: content,
    reasoning,
    toolCalls: parts.flatMap(toolCallDelta),
    tokenIds,
    logprobs: positions.flatMap((position) => textLogprob(position, prompt.tokens)),
    ...(finish === null ? {} : { finishReason: finish.reason === 'length' ? FinishReason.LENGTH : FinishReason.STOP }),
    ...(finish?.stopString ? { stopString: finish.stopString } : {}),
    ...(typeof finish?.stopTokenId === 'number' ? { stopTokenId: finish.stopTokenId } : {}),
    ...(finish === null || worker === null
      ? {}
      : { instanceId: worker.instanceId, dataParallelRank: worker.dataParallelRank }),
  });
}

/** What a part tells of a call. */
function toolCallDelta(part: ParsedPart): MessageInitShape<typeof ToolCallDeltaSchema>[] {
  switch (part.kind) {
    case 'call':
      return [{ index: part.index, id: part.id, name: part.name, arguments: part.arguments }];
    case 'arguments':
      return [{ index: part.index, arguments: part.arguments }];
    case 'callEnd':
      return [{ index: part.index, complete: part.complete }];
    default:
      return [];
  }
}

function textLogprob(position: PositionLogprobs, tokens: ModelTokens): TextLogprob[] {
  if (position.chosen === undefined) return [];
  const shown = (token: TokenLogprob) => ({
    token: tokens.text(token.tokenId),
    tokenBytes: tokens.bytes(token.tokenId).slice(),
    tokenId: token.tokenId,
    logprob: token.logprob,
  });
  return [create(TextLogprobSchema, { ...shown(position.chosen), top: position.top.map(shown) })];
}
