import { createHash } from 'node:crypto';
import { create } from '@bufbuild/protobuf';
import { byteVocabulary, maxAlternatives } from '#core/scheduling/synthetic-token.ts';
import {
  type ModelCard,
  ModelCardSchema,
  Pooling,
  SamplingField,
  Task,
  TokenizerSpec_Source,
  WorkerRole,
} from '#gen/stator/model/v1/model_pb.ts';
import type { MockerOptions } from './options.ts';

const chatTemplate =
  "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}\n{% endfor %}" +
  '{% if add_generation_prompt %}<|assistant|>{% endif %}';

/** What the engine emits is its likeliest token, which no filter removes; penalties it does not honour. */
const samplingFields = [
  SamplingField.TEMPERATURE,
  SamplingField.TOP_P,
  SamplingField.TOP_K,
  SamplingField.MIN_P,
  SamplingField.LOGIT_BIAS,
  SamplingField.SEED,
];

export function mockerCard(options: MockerOptions): ModelCard {
  const embeds = options.embeddingDimensions > 0;
  return create(ModelCardSchema, {
    name: options.model,
    aliases: [...options.aliases],
    digest: cardDigest(options),
    tokenizer: {
      source: TokenizerSpec_Source.BYTES,
      digest: createHash('sha256').update('stator byte vocabulary').digest(),
      vocabSize: byteVocabulary.size,
      eosTokenIds: [byteVocabulary.eos],
      bosTokenId: byteVocabulary.bos,
      chatTemplate,
    },
    limits: {
      contextLength: Math.min(options.contextLength, options.kvBlocks * options.blockSize),
      maxSequences: options.maxSequences,
      maxQueuedSequences: options.maxQueuedSequences,
      maxBatchedTokens: options.maxBatchedTokens,
      kvBlockSize: options.blockSize,
      kvBlocks: BigInt(options.kvBlocks),
    },
    capabilities: {
      tasks: [Task.CHAT, Task.COMPLETION, ...(embeds ? [Task.EMBEDDING, Task.SCORE] : [])],
      samplingFields,
      maxTopLogprobs: maxAlternatives,
      promptLogprobs: true,
      adapters: true,
      kvEvents: true,
      sleep: true,
      forwardPasses: true,
      embeddingDimensions: options.embeddingDimensions,
      ...(embeds && { pooling: Pooling.MEAN }),
    },
    role: WorkerRole.AGGREGATED,
    parallelism: { tensor: 1, pipeline: 1, data: 1 },
    engine: 'mocker 1',
    createdUnixMs: 0n,
    ownedBy: 'stator',
    taints: [...options.taints],
  });
}

function cardDigest(options: MockerOptions): Uint8Array {
  const parts = [
    options.model,
    options.contextLength,
    options.meanOutputTokens,
    options.embeddingDimensions,
    chatTemplate,
  ];
  return createHash('sha256').update('mocker 1').update(JSON.stringify(parts)).digest();
}
