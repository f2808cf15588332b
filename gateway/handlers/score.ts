import { randomUUID } from 'node:crypto';
import type { ServiceImpl } from '@connectrpc/connect';
import type { InferenceService } from '#gen/stator/inference/v1/inference_pb.ts';
import { Task } from '#gen/stator/model/v1/model_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { GatewayContext } from '../context.ts';
import { onWorker } from '../pipeline/embed.ts';
import { routedBy } from './request.ts';

export function score(ctx: GatewayContext): Pick<ServiceImpl<typeof InferenceService>, 'score'> {
  return {
    async score(request, context) {
      const { signal } = context;
      const model = ctx.catalog.resolve(request.model);
      const { card, name } = model.entry;
      if (!(card.capabilities?.tasks ?? []).includes(Task.SCORE)) {
        throw StatorError.unsupported('model', `\`model\`: the model \`${name}\` does not score`);
      }
      if (request.documents.length === 0) throw StatorError.invalid('documents', '`documents` must not be empty');
      const texts = [request.query, ...request.documents];
      const { encodings } = await ctx.tokenizer.encode({ model: name, texts, addSpecialTokens: false }, { signal });
      const [query, ...documents] = encodings.map(({ tokenIds }) => ({ tokenIds }));
      if (query === undefined || documents.length !== request.documents.length) {
        throw new StatorError('backend_protocol', 'The tokenizer answered another number of encodings.');
      }
      const requestId = randomUUID();
      const promptTokens = encodings.reduce((sum, { tokenIds }) => sum + tokenIds.length, 0);
      const answer = await onWorker(ctx, model, { requestId, promptTokens, ...routedBy(context), signal }, (engine) =>
        engine.score({ requestId, model: name, query, documents }, { signal }),
      );
      return { model: name, scores: answer.scores, promptTokens: answer.promptTokens };
    },
  };
}
