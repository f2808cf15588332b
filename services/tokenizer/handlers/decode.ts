import { create } from '@bufbuild/protobuf';
import type { ServiceImpl } from '@connectrpc/connect';
import { Detokenizer } from '#core/tokens/detokenizer.ts';
import {
  type DecodeRequest,
  DecodeResponseSchema,
  type TokenizerService,
} from '#gen/stator/tokenizer/v1/tokenizer_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { TokenizerContext } from '../context.ts';
import { handle } from './handle.ts';

export function decode(context: TokenizerContext): Pick<ServiceImpl<typeof TokenizerService>, 'decode'> {
  return {
    decode: (request: DecodeRequest) =>
      handle(context, 'decode', async () => {
        const { table } = await context.models.get(request.model);
        const bad = request.tokenIds.findIndex((id) => id >= table.size);
        if (bad >= 0) {
          const message = `Token id ${request.tokenIds[bad]} is beyond the vocabulary of ${table.size} tokens.`;
          throw StatorError.invalid(`token_ids[${bad}]`, message);
        }
        const detokenizer = new Detokenizer(table, { specialTokens: !(request.skipSpecialTokens ?? true) });
        let text = '';
        for (const id of request.tokenIds) text += detokenizer.push(id);
        return create(DecodeResponseSchema, { text: text + detokenizer.end() });
      }),
  };
}
