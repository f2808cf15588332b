import { create } from '@bufbuild/protobuf';
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
  type TextLogprob,
  TextLogprobSchema,
} from '#gen/stator/inference/v1/inference_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { GatewayContext } from '../context.ts';
import { usageOf } from '../output/usage.ts';
import type { Choice } from '../pipeline/choice.ts';
import type { Generation, GenerationObserver } from '../pipeline/generation.ts';
import type { GenerationRequest } from '../pipeline/request.ts';
import { runRequests } from '../pipeline/run.ts';
import { RequestRecord } from '../telemetry/request-record.ts';
import type { ModelTokens } from '../tokenizer/token-tables.ts';

/** New parts of choices; `usage` in the last one only. */
export interface DeltaBatch {
  readonly deltas: ChoiceDelta[];
  readonly usage: Usage | null;
}

/** Wakes one reader when there is output; what the reader has not taken waits in the choices. */
class Waker implements GenerationObserver {
  #changed = false;
  #wake: (() => void) | null = null;

  choiceChanged(): void {
    this.#changed = true;
    this.#wake?.();
  }

  async wait(): Promise<void> {
    if (!this.#changed) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    this.#changed = false;
    this.#wake = null;
  }
}

/** Runs a generation for a gRPC client; the client's end of the call ends it in the engine. */
export async function* streamDeltas(
  ctx: GatewayContext,
  request: GenerationRequest,
  context: HandlerContext,
  o: { endpoint: 'chat_completions' | 'completions'; returnTokenIds: boolean; prefix: string },
): AsyncGenerator<DeltaBatch> {
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
    const { receivedMs } = record;
    const run = await record.within(() => runRequests(ctx.pipeline, [traced], waker, { receivedMs, signal }));
    cancel = run.cancel;
    record.running(run.generations);
    const [generation] = run.generations;
    if (generation === undefined) throw new StatorError('internal', 'the run has no generation');
    if (o.prefix !== '') yield { deltas: echoes(generation, o.prefix), usage: null };
    yield* follow(generation, waker, request.topLogprobs !== null, o.returnTokenIds);
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

function echoes(generation: Generation, text: string): ChoiceDelta[] {
  return generation.choices.map((choice) => create(ChoiceDeltaSchema, { index: choice.index, text }));
}

async function* follow(
  generation: Generation,
  waker: Waker,
  logprobs: boolean,
  returnTokenIds: boolean,
): AsyncGenerator<DeltaBatch> {
  const closed = new Set<Choice>();
  while (!generation.done || closed.size < generation.choices.length) {
    await waker.wait();
    const deltas: ChoiceDelta[] = [];
    for (const choice of generation.choices) {
      if (closed.has(choice)) continue;
      if (choice.finish?.error) throw choice.finish.error;
      if (choice.finish !== null) closed.add(choice);
      const delta = deltaOf(choice, generation.prompt.tokens, logprobs, returnTokenIds);
      if (delta !== null) deltas.push(delta);
    }
    const last = closed.size === generation.choices.length;
    if (deltas.length > 0 || last) yield { deltas, usage: last ? usageMessage(generation) : null };
  }
}

function deltaOf(choice: Choice, tokens: ModelTokens, logprobs: boolean, returnTokenIds: boolean): ChoiceDelta | null {
  const tokenIds = returnTokenIds ? choice.tokenIds.slice(choice.takenTokens) : [];
  const text = choice.takeText();
  const { finish } = choice;
  const positions = logprobs ? choice.takeLogprobs() : [];
  if (text === '' && finish === null && tokenIds.length === 0 && positions.length === 0) return null;
  return create(ChoiceDeltaSchema, {
    index: choice.index,
    text,
    tokenIds,
    logprobs: positions.flatMap((position) => textLogprob(position, tokens)),
    ...(finish === null ? {} : { finishReason: finish.reason === 'length' ? FinishReason.LENGTH : FinishReason.STOP }),
    ...(finish?.stopString ? { stopString: finish.stopString } : {}),
    ...(typeof finish?.stopTokenId === 'number' ? { stopTokenId: finish.stopTokenId } : {}),
  });
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

function usageMessage(generation: Generation): Usage {
  return create(UsageSchema, usageOf([generation]));
}
