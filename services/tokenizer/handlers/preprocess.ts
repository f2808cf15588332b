import { create } from '@bufbuild/protobuf';
import type { HandlerContext, ServiceImpl } from '@connectrpc/connect';
import { packHashes } from '#core/tokens/packed-hashes.ts';
import {
  type PreprocessRequest,
  type PreprocessResponse,
  PreprocessResponseSchema,
  type TokenizerService,
} from '#gen/stator/tokenizer/v1/tokenizer_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { TokenizerContext } from '../context.ts';
import type { ServedModel } from '../models/models.ts';
import { type EncodedPrompt, encodeChat, encodeText } from '../prompt.ts';
import { vocabularySize } from '../vocabulary.ts';
import { handle } from './handle.ts';

export function preprocess(context: TokenizerContext): Pick<ServiceImpl<typeof TokenizerService>, 'preprocess'> {
  return {
    preprocess: (request: PreprocessRequest, { signal }: HandlerContext) =>
      handle(context, 'preprocess', async () => {
        const model = await context.models.get(request.model);
        const prompt = await context.gate.run(signal, () => encodePrompt(context, model, request));
        return respond(context, model, request, prompt);
      }),
  };
}

async function encodePrompt(
  context: TokenizerContext,
  model: ServedModel,
  { prompt }: PreprocessRequest,
): Promise<EncodedPrompt> {
  switch (prompt.case) {
    case 'chat':
      return encodeChat(context, model, prompt.value);
    case 'text':
      return encodeText(context, model, prompt.value);
    case 'tokens':
      return { ids: checkedIds(model, prompt.value.tokenIds), text: '', cachedTokens: 0, renderMs: 0, encodeMs: 0 };
    default:
      throw StatorError.invalid('prompt', 'A prompt is required.');
  }
}

function checkedIds(model: ServedModel, tokenIds: readonly number[]): Uint32Array {
  const size = vocabularySize(model.vocabulary);
  const bad = tokenIds.findIndex((id) => id >= size);
  if (bad >= 0) {
    throw StatorError.invalid(
      `prompt[${bad}]`,
      `Token id ${tokenIds[bad]} is beyond the vocabulary of ${size} tokens.`,
    );
  }
  return Uint32Array.from(tokenIds);
}

function respond(
  context: TokenizerContext,
  model: ServedModel,
  request: PreprocessRequest,
  prompt: EncodedPrompt,
): PreprocessResponse {
  const ids = fitted(model, request, prompt.ids);
  const kvBlockSize = model.card.limits?.kvBlockSize ?? 0;
  const { cacheSalt, adapter } = request;
  const hashes = kvBlockSize === 0 ? null : context.hashBlocks(ids, kvBlockSize, { cacheSalt, adapter });
  return create(PreprocessResponseSchema, {
    tokenIds: Array.from(ids),
    ...(hashes === null
      ? {}
      : { localHashes: packHashes(hashes.localHashes), sequenceHashes: packHashes(hashes.sequenceHashes) }),
    kvBlockSize,
    text: request.returnText ? prompt.text : '',
    renderUs: Math.round(prompt.renderMs * 1000),
    encodeUs: Math.round(prompt.encodeMs * 1000),
    prefixCacheTokens: Math.min(prompt.cachedTokens, ids.length),
  });
}

/** Refuses a prompt that does not fit, or cuts it where the caller asked for that. */
function fitted(model: ServedModel, request: PreprocessRequest, ids: Uint32Array): Uint32Array {
  if (ids.length === 0) throw StatorError.invalid('prompt', 'The prompt is empty.');
  const { truncateTokens } = request;
  const kept = truncateTokens > 0 && ids.length > truncateTokens ? ids.slice(0, truncateTokens) : ids;
  const limit = model.card.limits?.contextLength ?? 0;
  if (limit === 0 || kept.length <= limit) return kept;
  throw new StatorError(
    'context_length_exceeded',
    `This model's maximum context length is ${limit} tokens. However, your prompt has ${kept.length} tokens. Please reduce its length.`,
    { field: request.prompt.case === 'chat' ? 'messages' : 'prompt', facts: { limit, actual: kept.length } },
  );
}
