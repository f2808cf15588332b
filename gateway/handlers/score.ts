import type { ServiceImpl } from '@connectrpc/connect';
import type { InferenceService } from '#gen/stator/inference/v1/inference_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { GatewayContext } from '../context.ts';
import { score as scoreDocuments } from '../pipeline/score.ts';
import { routedBy } from './request.ts';

export function score(ctx: GatewayContext): Pick<ServiceImpl<typeof InferenceService>, 'score'> {
  return {
    async score({ model: asked, query, documents }, context) {
      const model = ctx.catalog.resolve(asked);
      if (documents.length === 0) throw StatorError.invalid('documents', '`documents` must not be empty');
      const fields = { query: 'query', documents: 'documents' };
      const o = { query, documents, fields, ...routedBy(context), signal: context.signal };
      const { scores, promptTokens } = await scoreDocuments(ctx, model, o);
      return { model: model.entry.name, scores: [...scores], promptTokens };
    },
  };
}
