import type { HandlerContext } from '@connectrpc/connect';
import type { ModelInferRequest, ModelInferResponse } from '#gen/inference/kserve_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { fromConnectError } from '#lib/rpc/errors.ts';
import { runToEnd, runTold } from '../api/routes/generate.ts';
import { inClientTerms } from '../api/translate/client-terms.ts';
import type { GatewayContext } from '../context.ts';
import { headersOf } from '../handlers/request.ts';
import { requestIdIn } from '../http/request-id.ts';
import type { Choice } from '../pipeline/choice.ts';
import type { Generation } from '../pipeline/generation.ts';
import type { Waker } from '../pipeline/waker.ts';
import { RequestRecord } from '../telemetry/request-record.ts';
import { readyModel } from './models.ts';
import { fieldNames, type TensorJob, tensorJob } from './request.ts';
import { finishReasonOf, inferResponse, type ToldChoice } from './responses.ts';
import { inferVectors } from './vectors.ts';

/** Where the responses of a streamed request go; resolves when the next may come. */
export type Responder = (response: ModelInferResponse) => Promise<void>;

/** Answers a request as a whole. Throws StatorError. */
export function inferWhole(
  ctx: GatewayContext,
  request: ModelInferRequest,
  context: HandlerContext,
): Promise<ModelInferResponse> {
  return recorded(ctx, context, async (record) => {
    record.identified(request.modelName, 'unary');
    const { model, makes } = readyModel(ctx, request.modelName, request.modelVersion);
    if (makes === 'vectors') return inferVectors(ctx, record, model, { request, context, signal: context.signal });
    const asked = tensorJob(ctx, model, request, headersOf(context));
    if (asked.stream) {
      const message = '`streaming` is not supported by ModelInfer: ask ModelStreamInfer';
      throw StatorError.unsupported('streaming', message);
    }
    return await whole(ctx, record, asked, context.signal);
  });
}

/** Answers a request of a stream in as many responses as it wants. Throws StatorError, and what `respond` throws. */
export function inferStreamed(
  ctx: GatewayContext,
  request: ModelInferRequest,
  context: HandlerContext,
  o: { respond: Responder; signal: AbortSignal },
): Promise<void> {
  return recorded(ctx, context, async (record) => {
    record.identified(request.modelName, 'stream');
    const { model, makes } = readyModel(ctx, request.modelName, request.modelVersion);
    if (makes === 'vectors')
      return await o.respond(await inferVectors(ctx, record, model, { request, context, signal: o.signal }));
    const asked = tensorJob(ctx, model, request, headersOf(context));
    const tell = (generation: Generation, waker: Waker) => tellParts(asked, generation, waker, o.respond);
    if (asked.stream) await runTold(ctx, record, asked.job, { tell, signal: o.signal });
    else await o.respond(await whole(ctx, record, asked, o.signal));
  });
}

async function recorded<T>(
  ctx: GatewayContext,
  context: HandlerContext,
  work: (record: RequestRecord) => Promise<T>,
): Promise<T> {
  const record = new RequestRecord(ctx, {
    endpoint: 'kserve',
    requestId: requestIdIn((name) => context.requestHeader.get(name)),
    method: 'POST',
    path: `/${context.service.typeName}/${context.method.name}`,
    traceparent: context.requestHeader.get('traceparent') ?? '',
  });
  try {
    const answer = await record.within(() => ctx.running.run(() => work(record)));
    record.end(null);
    return answer;
  } catch (thrown) {
    // Whatever failed after the call ended failed because it ended.
    const reason = context.signal.aborted ? fromConnectError(context.signal.reason) : StatorError.from(thrown);
    const error = fieldNames.inClientTerms(inClientTerms(reason));
    record.end(error);
    throw error;
  }
}

async function whole(
  ctx: GatewayContext,
  record: RequestRecord,
  asked: TensorJob,
  signal: AbortSignal,
): Promise<ModelInferResponse> {
  const [generation] = await runToEnd(ctx, record, asked.job, signal);
  if (generation === undefined) throw new StatorError('internal', 'the run has no generation');
  const told = generation.choices.map((choice) => takeFrom(choice, prefixOf(asked, generation)));
  return inferResponse(asked, told, null);
}

/** Passes on what choices bring, each in responses of its own, until all have ended. */
async function tellParts(asked: TensorJob, generation: Generation, waker: Waker, respond: Responder): Promise<void> {
  const open = new Set(generation.choices);
  const several = open.size > 1;
  const prefix = prefixOf(asked, generation);
  for (const { index } of prefix === '' ? [] : open)
    await respond(inferResponse(asked, [{ index, text: prefix, finishReason: '' }], { final: false, several }));
  while (open.size > 0) {
    await waker.wait();
    for (const choice of open) {
      if (choice.finish?.error) throw choice.finish.error;
      if (!choice.hasOutput && choice.finish === null) continue;
      if (choice.finish !== null) open.delete(choice);
      const told = takeFrom(choice, '');
      await respond(inferResponse(asked, [told], { final: open.size === 0, several }));
    }
  }
}

function prefixOf({ job }: TensorJob, { prompt }: Generation): string {
  return job.plan.echo ? prompt.text : '';
}

function takeFrom(choice: Choice, prefix: string): ToldChoice {
  return { index: choice.index, text: prefix + choice.takeText(), finishReason: finishReasonOf(choice) };
}
