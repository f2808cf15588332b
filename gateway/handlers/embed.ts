import type { ServiceImpl } from '@connectrpc/connect';
import type { InferenceService } from '#gen/stator/inference/v1/inference_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { checkTokenIds } from '../api/translate/common.ts';
import type { GatewayContext } from '../context.ts';
import { type EmbedPrompt, embed as embedPrompts } from '../pipeline/embed.ts';
import { routedBy } from './request.ts';

export function embed(ctx: GatewayContext): Pick<ServiceImpl<typeof InferenceService>, 'embed'> {
  return {
    async embed(request, context) {
      const model = ctx.catalog.resolve(request.model);
      if (request.inputs.length === 0) throw StatorError.invalid('inputs', '`inputs` must not be empty');
      const prompts = request.inputs.map(({ input }, index): EmbedPrompt => {
        if (input.case === 'text') return { text: input.value };
        if (input.case !== 'tokens')
          throw StatorError.invalid(`inputs[${index}]`, `\`inputs[${index}]\` must have text or tokens`);
        checkTokenIds(input.value.tokenIds, `inputs[${index}].tokens.token_ids`, model);
        return { tokenIds: input.value.tokenIds };
      });
      const { vectors, promptTokens } = await embedPrompts(ctx, model, {
        prompts,
        addSpecialTokens: true,
        truncateTokens: 0,
        dimensions: request.dimensions,
        fields: { input: 'inputs', dimensions: 'dimensions' },
        ...routedBy(context),
        signal: context.signal,
      });
      const embeddings = vectors.map((vector, index) => ({ index, values: [...vector] }));
      return { model: model.entry.name, embeddings, promptTokens };
    },
  };
}
