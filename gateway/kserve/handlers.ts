import type { ServiceImpl } from '@connectrpc/connect';
import type { GRPCInferenceService } from '#gen/inference/kserve_pb.ts';
import { packageVersion } from '#lib/config/package.ts';
import type { GatewayContext } from '../context.ts';
import { admitted, authenticated } from '../tenants/guard-rpc.ts';
import { modelConfig, modelMetadata, platform } from './describe.ts';
import { inferWhole } from './infer.ts';
import { isVersion, shownModel } from './models.ts';
import { answerStream } from './stream.ts';

type Handlers = ServiceImpl<typeof GRPCInferenceService>;

/**
 * The Open Inference Protocol for models that complete or embed text, over the same pipeline as REST. Whether the server is there is told to
 * everybody; models are shown to those who may use them; each inference counts within its caller's limits.
 */
export function kserveHandlers(ctx: GatewayContext): Handlers {
  const { access } = ctx;
  return {
    serverLive: () => ({ live: true }),
    serverReady: () => ({
      ready: !ctx.draining.aborted && ctx.catalog.entries().some((one) => ctx.catalog.isReady(one)),
    }),
    serverMetadata: () => ({ name: platform, version: packageVersion(), extensions: ['model_configuration'] }),
    modelReady: ({ name, version }, context) =>
      authenticated(access, context, () => ({ ready: isReady(ctx, name, version) })),
    modelMetadata: ({ name, version }, context) =>
      authenticated(access, context, () => modelMetadata(shownModel(ctx, name, version))),
    modelConfig: ({ name, version }, context) =>
      authenticated(access, context, () => ({ config: modelConfig(shownModel(ctx, name, version)) })),
    modelInfer: (request, context) => admitted(access, context, () => inferWhole(ctx, request, context)),
    modelStreamInfer: (requests, context) => answerStream(ctx, requests, context),
  };
}

function isReady(ctx: GatewayContext, name: string, version: string): boolean {
  const found = ctx.catalog.find(name);
  const isOffered = found !== null && ctx.catalog.isReady(found.entry) && isVersion(version);
  return isOffered && !ctx.draining.aborted;
}
