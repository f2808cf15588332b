import { create, type MessageInitShape } from '@bufbuild/protobuf';
import type { Client } from '@connectrpc/connect';
import type { MediaSlotSchema } from '#gen/stator/engine/v1/generate_pb.ts';
import {
  CountTokensResponseSchema,
  DecodeResponseSchema,
  EncodeResponseSchema,
  GetTokenizerResponseSchema,
  type PreprocessRequest,
  PreprocessResponseSchema,
  type TokenizerService,
  TokenTableSchema,
} from '#gen/stator/tokenizer/v1/tokenizer_pb.ts';

/** Number of ids that are no bytes: padding, begin, end. */
export const specials = 3;

export function encodeBytes(text: string): number[] {
  return [...Buffer.from(text, 'utf8')].map((byte) => byte + specials);
}

export function decodeBytes(tokenIds: readonly number[]): string {
  return Buffer.from(tokenIds.filter((id) => id >= specials).map((id) => id - specials)).toString('utf8');
}

/** A padding token in front of the text for each medium. */
function mediaOf(prompt: PreprocessRequest['prompt']): MessageInitShape<typeof MediaSlotSchema>[] {
  if (prompt.case !== 'chat') return [];
  return prompt.value.messages
    .flatMap(({ content }) => content.flatMap(({ part }) => (part.case === 'media' ? [part.value] : [])))
    .map((media, offset) => ({ offset, length: 1, media }));
}

function textOf(prompt: PreprocessRequest['prompt']): string {
  if (prompt.case === 'text') return prompt.value.text;
  if (prompt.case !== 'chat') return '';
  const texts = prompt.value.messages.map(({ role, content }) => {
    const parts = content.map(({ part }) => (part.case === 'text' ? part.value : ''));
    return `<${role}>${parts.join('')}`;
  });
  return texts.join('');
}

/** A tokenizer for tests: one token for each byte, as the contract's SOURCE_BYTES says, and the plainest of templates. */
export function byteTokenizer(): Client<typeof TokenizerService> {
  const table = create(TokenTableSchema, {
    data: Uint8Array.from({ length: 256 }, (_, byte) => byte),
    offsets: [0, 0, 0, ...Array.from({ length: 257 }, (_, index) => index)],
    specialTokenIds: [0, 1, 2],
    eosTokenIds: [2],
  });
  const client: Pick<
    Client<typeof TokenizerService>,
    'preprocess' | 'encode' | 'decode' | 'countTokens' | 'getTokenizer'
  > = {
    async preprocess(request) {
      const prompt = request.prompt as PreprocessRequest['prompt'];
      const text = textOf(prompt);
      const media = mediaOf(prompt);
      const textIds = prompt.case === 'tokens' ? prompt.value.tokenIds : encodeBytes(text);
      const tokenIds = [...media.map(() => 0), ...textIds];
      return create(PreprocessResponseSchema, { tokenIds, kvBlockSize: 16, text, media });
    },
    async encode(request) {
      return create(EncodeResponseSchema, {
        encodings: (request.texts ?? []).map((text) => ({ tokenIds: encodeBytes(text) })),
      });
    },
    async decode(request) {
      return create(DecodeResponseSchema, { text: decodeBytes(request.tokenIds ?? []) });
    },
    async countTokens(request) {
      const text = textOf(request.prompt as PreprocessRequest['prompt']);
      return create(CountTokensResponseSchema, { tokens: encodeBytes(text).length });
    },
    async getTokenizer() {
      return create(GetTokenizerResponseSchema, { table, vocabSize: 259 });
    },
  };
  return client as Client<typeof TokenizerService>;
}
