import type { ServiceImpl } from '@connectrpc/connect';
import type { InferenceService } from '#gen/stator/inference/v1/inference_pb.ts';
import type { GatewayContext } from '../context.ts';

export function listModels(ctx: GatewayContext): Pick<ServiceImpl<typeof InferenceService>, 'listModels'> {
  return {
    listModels() {
      const models = ctx.catalog.ready().map(({ name, card, workers }) => ({
        name,
        aliases: card.aliases,
        contextLength: card.limits?.contextLength ?? 0,
        createdUnix: card.createdUnixMs / 1000n,
        workers: workers.size,
      }));
      return { models };
    },
  };
}
