import { StatorError } from '#lib/errors/errors.ts';
import type { EmbedGate } from './embed-gate.ts';
import { type ContextOf, type EngineServiceImpl, unimplemented } from './handler.ts';
import { toInput, toInputs, tokensOf } from './inputs.ts';

export function score(contextOf: ContextOf, gate: EmbedGate): Pick<EngineServiceImpl, 'score'> {
  return {
    async score(request, call) {
      const { models, state, config } = contextOf();
      state.checkTakesWork();
      const host = models.find(request.model);
      const { engine } = host;
      if (engine.score === undefined) throw unimplemented('Score', host.card.name);
      if (request.query === undefined) throw StatorError.invalid('query', 'query is required');
      const query = toInput(host, request.query, 'query', false);
      const documents = toInputs(host, request.documents, 'documents', false);
      const options = { signal: call.signal };
      const scores = await gate.run(
        config.maxEmbedRequests,
        async () => engine.score?.(query, documents, options) ?? [],
      );
      return { scores, promptTokens: query.tokenIds.length * documents.length + tokensOf(documents) };
    },
  };
}
