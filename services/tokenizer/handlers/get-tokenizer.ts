import { create } from '@bufbuild/protobuf';
import type { ServiceImpl } from '@connectrpc/connect';
import {
  type GetTokenizerRequest,
  GetTokenizerResponseSchema,
  type TokenizerService,
  TokenTableSchema,
} from '#gen/stator/tokenizer/v1/tokenizer_pb.ts';
import type { TokenizerContext } from '../context.ts';
import type { ServedModel } from '../models/models.ts';
import { vocabularySize } from '../vocabulary.ts';
import { handle } from './handle.ts';

export function getTokenizer(context: TokenizerContext): Pick<ServiceImpl<typeof TokenizerService>, 'getTokenizer'> {
  return {
    getTokenizer: (request: GetTokenizerRequest) =>
      handle(context, 'get_tokenizer', async () => {
        const model = await context.models.get(request.model);
        const current = request.knownDigest.length > 0 && Buffer.compare(request.knownDigest, model.digest) === 0;
        return create(GetTokenizerResponseSchema, {
          digest: model.digest,
          vocabSize: vocabularySize(model.vocabulary),
          chatTemplate: model.templates.main,
          ...(current ? {} : { table: tableOf(model) }),
          ...(model.bosTokenId === null ? {} : { bosTokenId: model.bosTokenId }),
        });
      }),
  };
}

function tableOf(model: ServedModel) {
  return create(TokenTableSchema, { ...model.vocabulary.data, eosTokenIds: [...model.eosTokenIds] });
}
