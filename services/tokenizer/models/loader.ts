import { stat } from 'node:fs/promises';
import type { ModelSet } from '#core/models/model-sets.ts';
import { type Artifact, Artifact_Kind, TokenizerSpec_Source } from '#gen/stator/model/v1/model_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { firstHeadBytes, ggufHeadLength, maxHeadBytes, writeSparse } from '../artifacts/gguf-head.ts';
import type { ArtifactStore } from '../artifacts/store.ts';
import { bytesVocabulary } from '../vocabularies/bytes.ts';
import { loadGguf } from '../vocabularies/gguf.ts';
import { loadHuggingFace } from '../vocabularies/hugging-face.ts';
import type { Vocabulary } from '../vocabulary.ts';

/** Loads the vocabulary that a card names. Throws `unsupported`, `not_ready` or `invalid_argument`. */
export async function loadVocabulary(
  model: ModelSet,
  artifacts: ArtifactStore,
  signal: AbortSignal,
): Promise<Vocabulary> {
  const source = model.card.tokenizer?.source ?? TokenizerSpec_Source.UNSPECIFIED;
  switch (source) {
    case TokenizerSpec_Source.BYTES:
      return bytesVocabulary();
    case TokenizerSpec_Source.GGUF:
      return loadGguf(await ggufPath(model, artifacts, signal));
    case TokenizerSpec_Source.TOKENIZER_JSON:
      return loadTokenizerJson(model, artifacts, signal);
    default:
      throw StatorError.unsupported('model', `The model \`${model.name}\` takes only token ids: it has no tokenizer.`);
  }
}

async function loadTokenizerJson(model: ModelSet, artifacts: ArtifactStore, signal: AbortSignal): Promise<Vocabulary> {
  const config = find(model, Artifact_Kind.TOKENIZER_CONFIG);
  const files = {
    tokenizerJson: await artifacts.locate(
      model,
      required(model, Artifact_Kind.TOKENIZER_JSON, 'tokenizer.json'),
      signal,
    ),
    tokenizerConfig: config === null ? null : await artifacts.locate(model, config, signal),
  };
  return loadHuggingFace(files, model.card);
}

/** The GGUF file itself where this machine has it; else a file with its head, which is all that the vocabulary needs. */
async function ggufPath(model: ModelSet, artifacts: ArtifactStore, signal: AbortSignal): Promise<string> {
  const weights = required(model, Artifact_Kind.WEIGHTS, 'GGUF file');
  const local = await artifacts.localOfSize(weights);
  if (local !== null) return local;
  const name = `${Buffer.from(weights.sha256).toString('hex')}.head.gguf`;
  const cached = artifacts.path(name);
  const found = await stat(cached).catch(() => null);
  if (found !== null && BigInt(found.size) === weights.sizeBytes) return cached;
  const head = await readHead(model, weights, artifacts, signal);
  return artifacts.write(name, (path) => writeSparse(path, head, Number(weights.sizeBytes)));
}

async function readHead(
  model: ModelSet,
  weights: Artifact,
  artifacts: ArtifactStore,
  signal: AbortSignal,
): Promise<Uint8Array> {
  for (let length = firstHeadBytes; ; length *= 2) {
    const wanted = BigInt(length) < weights.sizeBytes ? BigInt(length) : weights.sizeBytes;
    const bytes = await artifacts.read(model, weights, wanted, signal);
    const head = headLength(bytes, weights.name);
    if (head !== null) return bytes.subarray(0, head);
    if (wanted === weights.sizeBytes || length >= maxHeadBytes) {
      throw StatorError.invalid('tokenizer', `${weights.name} is cut off before its tensors.`);
    }
  }
}

function headLength(bytes: Uint8Array, name: string): number | null {
  try {
    return ggufHeadLength(bytes);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw StatorError.invalid('tokenizer', `${name} cannot be used: ${reason}.`, { cause });
  }
}

function find(model: ModelSet, kind: Artifact_Kind): Artifact | null {
  return model.card.artifacts.find((artifact) => artifact.kind === kind) ?? null;
}

function required(model: ModelSet, kind: Artifact_Kind, what: string): Artifact {
  const artifact = find(model, kind);
  if (artifact === null) throw new StatorError('not_ready', `The card of \`${model.name}\` names no ${what}.`);
  return artifact;
}
