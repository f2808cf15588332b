import type { ServiceImpl } from '@connectrpc/connect';
import { InferenceService } from '#gen/stator/inference/v1/inference_pb.ts';
import type { GatewayContext } from '../context.ts';
import { guardRpc } from '../tenants/guard-rpc.ts';
import { chat } from './chat.ts';
import { complete } from './complete.ts';
import { embed } from './embed.ts';
import { listModels } from './list-models.ts';
import { score } from './score.ts';

/** The typed public API: the same pipeline as REST. */
export function inferenceHandlers(ctx: GatewayContext): ServiceImpl<typeof InferenceService> {
  return { ...chat(ctx), ...complete(ctx), ...embed(ctx), ...score(ctx), ...listModels(ctx) };
}

/** The same for the public port: callers are known, and limits hold. */
export function publicInference(ctx: GatewayContext): ServiceImpl<typeof InferenceService> {
  const { access, running } = ctx;
  return guardRpc({ access, running, plain: ['listModels'] }, InferenceService, inferenceHandlers(ctx));
}
