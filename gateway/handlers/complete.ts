import { create } from '@bufbuild/protobuf';
import type { ServiceImpl } from '@connectrpc/connect';
import type { CompleteRequest, InferenceService } from '#gen/stator/inference/v1/inference_pb.ts';
import { Task } from '#gen/stator/model/v1/model_pb.ts';
import { TextPromptSchema, TokenPromptSchema } from '#gen/stator/tokenizer/v1/tokenizer_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { checkTokenIds } from '../api/translate/common.ts';
import type { GatewayContext } from '../context.ts';
import type { ResolvedModel } from '../models/catalog.ts';
import { checkCard } from '../pipeline/check-card.ts';
import type { GenerationRequest } from '../pipeline/request.ts';
import { streamDeltas } from './delta-stream.ts';
import { generationOf } from './request.ts';

function promptOf(request: CompleteRequest, model: ResolvedModel): GenerationRequest['prompt'] {
  const { prompt } = request;
  if (prompt.case === 'text') return { case: 'text', value: create(TextPromptSchema, { text: prompt.value }) };
  if (prompt.case !== 'tokens') throw StatorError.invalid('prompt', '`text` or `tokens` must be set');
  const { tokenIds } = prompt.value;
  checkTokenIds(tokenIds, 'tokens.token_ids', model);
  if (request.echo) throw StatorError.unsupported('echo', '`echo` is not supported for a prompt of token ids');
  return { case: 'tokens', value: create(TokenPromptSchema, { tokenIds }) };
}

export function complete(ctx: GatewayContext): Pick<ServiceImpl<typeof InferenceService>, 'complete'> {
  return {
    async *complete(request, context) {
      const model = ctx.catalog.resolve(request.model);
      const timeoutMs = ctx.config.requestTimeoutSeconds * 1000;
      const generation = generationOf(request.options, model, promptOf(request, model), { context, timeoutMs });
      const seedGiven = request.options?.sampling?.seed !== undefined;
      checkCard(generation, Task.COMPLETION, { guided: 'options.guided', logprobs: 'options.top_logprobs', seedGiven });
      const head = {
        id: `cmpl-${generation.requestId}`,
        model: model.entry.name,
        createdUnix: BigInt(Math.floor(Date.now() / 1000)),
      };
      const prefix = request.echo && request.prompt.case === 'text' ? request.prompt.value : '';
      const o = { endpoint: 'completions', options: request.options, prefix } as const;
      for await (const part of streamDeltas(ctx, generation, context, o)) yield { ...head, ...part };
    },
  };
}
