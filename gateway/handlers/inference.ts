import type { ServiceImpl } from '@connectrpc/connect';
import type { InferenceService } from '#gen/stator/inference/v1/inference_pb.ts';
import type { GatewayContext } from '../context.ts';
import { chat } from './chat.ts';
import { complete } from './complete.ts';
import { embed } from './embed.ts';
import { listModels } from './list-models.ts';
import { score } from './score.ts';

/** The typed public API: the same pipeline as REST. */
export function inferenceHandlers(ctx: GatewayContext): ServiceImpl<typeof InferenceService> {
  return { ...chat(ctx), ...complete(ctx), ...embed(ctx), ...score(ctx), ...listModels(ctx) };
}
