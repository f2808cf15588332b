import { create } from '@bufbuild/protobuf';
import type { HandlerContext, ServiceImpl } from '@connectrpc/connect';
import {
  type CountTokensRequest,
  CountTokensResponseSchema,
  type TokenizerService,
} from '#gen/stator/tokenizer/v1/tokenizer_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { TokenizerContext } from '../context.ts';
import type { ServedModel } from '../models/models.ts';
import { type EncodedPrompt, encodeChat, encodeText } from '../prompt.ts';
import { handle } from './handle.ts';

export function countTokens(context: TokenizerContext): Pick<ServiceImpl<typeof TokenizerService>, 'countTokens'> {
  return {
    countTokens: (request: CountTokensRequest, { signal }: HandlerContext) =>
      handle(context, 'count_tokens', async () => {
        const model = await context.models.get(request.model);
        const { ids } = await context.gate.run(signal, () => encodePrompt(context, model, request));
        return create(CountTokensResponseSchema, { tokens: ids.length });
      }),
  };
}

async function encodePrompt(
  context: TokenizerContext,
  model: ServedModel,
  { prompt }: CountTokensRequest,
): Promise<EncodedPrompt> {
  if (prompt.case === 'chat') return encodeChat(context, model, prompt.value);
  if (prompt.case === 'text') return encodeText(context, model, prompt.value);
  throw StatorError.invalid('prompt', 'A prompt is required.');
}
