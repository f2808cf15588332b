import { createHash } from 'node:crypto';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { create } from '@bufbuild/protobuf';
import {
  Artifact_Kind,
  GuidedMode,
  type ModelCard,
  ModelCardSchema,
  type Pooling,
  SamplingField,
  Task,
  TokenizerSpec_Source,
  WorkerRole,
} from '#gen/stator/model/v1/model_pb.ts';
import type { ModelInfo, VocabTable } from '#native/llamacpp/index.ts';
import type { FileDigest } from './digest.ts';
import type { LlamacppOptions } from './options.ts';

/** Alternatives for one token that the engine is asked to compute at most; OpenAI's own limit. */
export const maxTopLogprobs = 20;

/** Sizes as the engine really has them. */
export interface Sizes {
  readonly contextLength: number;
  readonly kvBlocks: number;
  readonly batchTokens: number;
}

export interface CardParts {
  readonly options: LlamacppOptions;
  readonly info: ModelInfo;
  readonly vocab: VocabTable;
  readonly file: FileDigest;
  readonly sizes: Sizes;
  /** Set for a model that embeds or scores instead of generating. */
  readonly pooling: Pooling | undefined;
  readonly tasks: readonly Task[];
}

const samplingFields = [
  SamplingField.TEMPERATURE,
  SamplingField.TOP_P,
  SamplingField.TOP_K,
  SamplingField.MIN_P,
  SamplingField.FREQUENCY_PENALTY,
  SamplingField.PRESENCE_PENALTY,
  SamplingField.REPETITION_PENALTY,
  SamplingField.LOGIT_BIAS,
  SamplingField.SEED,
];

const guidedModes = [
  GuidedMode.JSON_SCHEMA,
  GuidedMode.REGEX,
  GuidedMode.GRAMMAR,
  GuidedMode.CHOICE,
  GuidedMode.JSON_OBJECT,
  GuidedMode.STRUCTURAL_TAG,
];

/** The card of a loaded model: what this engine does with it, no more. */
export function buildCard(parts: CardParts): ModelCard {
  const { options, info, file, sizes } = parts;
  const generates = parts.pooling === undefined;
  const tokenizer = tokenizerSpec(parts);
  return create(ModelCardSchema, {
    name: options.name ?? defaultName(options.modelPath),
    aliases: [...options.aliases],
    digest: cardDigest(parts, tokenizer),
    artifacts: [
      {
        kind: Artifact_Kind.WEIGHTS,
        uri: pathToFileURL(path.resolve(options.modelPath)).href,
        name: path.basename(options.modelPath),
        sizeBytes: BigInt(file.sizeBytes),
        sha256: file.sha256,
      },
    ],
    tokenizer,
    limits: {
      contextLength: sizes.contextLength,
      maxSequences: options.maxSequences,
      maxBatchedTokens: sizes.batchTokens,
      kvBlockSize: generates ? options.blockSize : 0,
      kvBlocks: BigInt(sizes.kvBlocks),
      maxQueuedSequences: options.maxQueuedSequences,
    },
    capabilities: {
      tasks: [...parts.tasks],
      samplingFields: generates ? samplingFields : [],
      guidedModes: generates ? guidedModes : [],
      guidedResume: generates,
      maxTopLogprobs: generates ? maxTopLogprobs : 0,
      promptLogprobs: generates,
      adapters: generates,
      kvEvents: generates && !info.recurrent,
      forwardPasses: generates,
      embeddingDimensions: parts.tasks.includes(Task.EMBEDDING) ? info.embeddingDimensions : 0,
      ...(parts.pooling === undefined ? {} : { pooling: parts.pooling }),
    },
    role: WorkerRole.AGGREGATED,
    parallelism: { tensor: 1, pipeline: 1, data: 1 },
    toolCallParser: options.toolCallParser,
    reasoningParser: options.reasoningParser,
    engine: `llamacpp ${info.release}`,
    createdUnixMs: BigInt(Math.trunc(file.modifiedMs)),
    ownedBy: info.metadata['general.organization'] ?? '',
  });
}

function tokenizerSpec({ vocab, info, file, options }: CardParts) {
  const prefix = 'tokenizer.chat_template.';
  const named = Object.entries(info.metadata).filter(([key]) => key.startsWith(prefix));
  return {
    source: vocab.type === 'none' ? TokenizerSpec_Source.UNSPECIFIED : TokenizerSpec_Source.GGUF,
    // The merges are part of the file only, so the whole file stands for the vocabulary.
    digest: createHash('sha256').update('gguf-vocabulary').update(file.sha256).digest(),
    vocabSize: vocab.size,
    eosTokenIds: [...vocab.endOfGeneration],
    addBos: vocab.addBos,
    chatTemplate: options.pooling === 'auto' || options.pooling === 'none' ? (vocab.chatTemplate ?? '') : '',
    namedChatTemplates: Object.fromEntries(named.map(([key, value]) => [key.slice(prefix.length), value])),
    ...(vocab.special.bos === null ? {} : { bosTokenId: vocab.special.bos }),
  };
}

/** Over what decides answers; equal on every worker that answers equally. */
function cardDigest(parts: CardParts, tokenizer: ReturnType<typeof tokenizerSpec>): Buffer {
  const { options, sizes } = parts;
  const hash = createHash('sha256').update('llamacpp').update(parts.file.sha256).update(tokenizer.digest);
  hash.update(
    JSON.stringify([
      tokenizer.chatTemplate,
      sizes.contextLength,
      parts.tasks,
      parts.pooling ?? null,
      options.toolCallParser,
      options.reasoningParser,
    ]),
  );
  return hash.digest();
}

/** "SmolLM2-135M-Instruct.Q4_1.gguf" → "SmolLM2-135M-Instruct". */
export function defaultName(modelPath: string): string {
  const base = path
    .basename(modelPath)
    .replace(/\.gguf$/i, '')
    .replace(/-\d{5}-of-\d{5}$/, '');
  return base.replace(/[.-](?:i?q\d\w*|f16|f32|bf16|mxfp4)$/i, '') || base;
}
