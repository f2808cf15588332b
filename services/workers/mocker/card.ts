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
import type { MockerOptions, MockerRole } from './options.ts';

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

const roles: Readonly<Record<MockerRole, WorkerRole>> = {
  aggregated: WorkerRole.AGGREGATED,
  prefill: WorkerRole.PREFILL,
  decode: WorkerRole.DECODE,
};

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
      contextLength: contextOf(options),
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
      kvTransfer: true,
      embeddingDimensions: options.embeddingDimensions,
      ...(embeds && { pooling: Pooling.MEAN }),
    },
    role: roles[options.role],
    ...(options.role !== 'aggregated' && { needs: [{ roles: [WorkerRole.PREFILL, WorkerRole.DECODE] }] }),
    parallelism: { tensor: 1, pipeline: 1, data: options.ranks },
    engine: 'mocker 1',
    createdUnixMs: 0n,
    ownedBy: 'stator',
    taints: [...options.taints],
  });
}

/** Tokens that one sequence can have: the pool holds them, and without chunks a pass computes the prompt. */
function contextOf({ contextLength, kvBlocks, blockSize, maxBatchedTokens, simulation }: MockerOptions): number {
  const pass = simulation.chunkedPrefill === false ? maxBatchedTokens : Number.POSITIVE_INFINITY;
  return Math.min(contextLength, kvBlocks * blockSize, pass);
}

function cardDigest(options: MockerOptions): Uint8Array {
  const parts = [
    options.model,
    options.contextLength,
    options.meanOutputTokens,
    options.embeddingDimensions,
    chatTemplate,
    ...(options.reasoning === undefined ? [] : [options.reasoning]),
  ];
  return createHash('sha256').update('mocker 1').update(JSON.stringify(parts)).digest();
}
