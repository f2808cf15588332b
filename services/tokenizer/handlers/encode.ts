import { create } from '@bufbuild/protobuf';
import type { HandlerContext, ServiceImpl } from '@connectrpc/connect';
import { tokenBytes } from '#core/tokens/token-table.ts';
import {
  type EncodeRequest,
  EncodeResponseSchema,
  EncodingSchema,
  type TokenizerService,
} from '#gen/stator/tokenizer/v1/tokenizer_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { TokenizerContext } from '../context.ts';
import { encodePlain } from '../prompt.ts';
import { handle } from './handle.ts';

export function encode(context: TokenizerContext): Pick<ServiceImpl<typeof TokenizerService>, 'encode'> {
  return {
    encode: (request: EncodeRequest, { signal }: HandlerContext) =>
      handle(context, 'encode', async () => {
        if (request.texts.length === 0) throw StatorError.invalid('texts', 'At least one text is required.');
        const model = await context.models.get(request.model);
        const addSpecialTokens = request.addSpecialTokens ?? true;
        const texts = new TextDecoder('utf-8', { ignoreBOM: true });
        const encodings = await context.gate.run(signal, async () => {
          const list = [];
          for (const text of request.texts) {
            signal.throwIfAborted();
            const { ids } = await encodePlain(context, model, text, addSpecialTokens);
            const tokenIds = Array.from(ids);
            const tokens = request.returnTokens ? tokenIds.map((id) => texts.decode(tokenBytes(model.table, id))) : [];
            list.push(create(EncodingSchema, { tokenIds, tokens }));
          }
          return list;
        });
        return create(EncodeResponseSchema, { encodings });
      }),
  };
}
