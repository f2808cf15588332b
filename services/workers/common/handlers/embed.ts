import { Pooling } from '#gen/stator/model/v1/model_pb.ts';
import type { EmbedGate } from './embed-gate.ts';
import { type ContextOf, type EngineServiceImpl, unimplemented } from './handler.ts';
import { toInputs, tokensOf } from './inputs.ts';

export function embed(contextOf: ContextOf, gate: EmbedGate): Pick<EngineServiceImpl, 'embed'> {
  return {
    async embed(request, call) {
      const { models, state, config } = contextOf();
      state.checkTakesWork();
      const host = models.find(request.model);
      const { engine } = host;
      if (engine.embed === undefined) throw unimplemented('Embed', host.card.name);
      const inputs = toInputs(host, request.inputs, 'inputs', request.truncate);
      const pooling =
        request.pooling === Pooling.UNSPECIFIED
          ? (host.card.capabilities?.pooling ?? Pooling.UNSPECIFIED)
          : request.pooling;
      const options = { pooling, normalize: request.normalize ?? true, signal: call.signal };
      const vectors = await gate.run(config.maxEmbedRequests, async () => engine.embed?.(inputs, options) ?? []);
      const indices =
        pooling === Pooling.NONE
          ? inputs.flatMap(({ tokenIds }, at) => Array.from(tokenIds, () => at))
          : inputs.map((_, at) => at);
      return {
        embeddings: vectors.map((values, at) => ({ values: [...values], index: indices[at] ?? at })),
        promptTokens: tokensOf(inputs),
      };
    },
  };
}
