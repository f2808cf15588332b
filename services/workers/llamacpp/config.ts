import os from 'node:os';
import path from 'node:path';
import { environment } from '#lib/config/environment.ts';
import { defineSettings, type SettingsOf, setting } from '#lib/config/settings.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { workerSettings } from '../common/config.ts';
import { defaultOptions, type LlamacppOptions } from './options.ts';
import { checkParsers } from './parsers.ts';

const group = 'Engine';
const kvTypes = ['f16', 'f32', 'bf16', 'q8_0', 'q4_0'] as const;

export const llamacppSettings = defineSettings({
  ...workerSettings,
  model: setting.list({ default: [], group, help: 'GGUF files to serve, one engine each.' }),
  modelName: setting.list({
    default: [],
    group,
    help: 'Names under which clients find them, in the same order; default: from the file names.',
  }),
  contextLength: setting.integer({
    default: 0,
    min: 0,
    max: 1 << 24,
    group,
    help: "Most tokens of prompt and output; 0: the model's own, at most 8192.",
  }),
  kvTokens: setting.integer({
    default: 0,
    min: 0,
    max: 1 << 26,
    group,
    help: 'Tokens of KV that sequences and cached blocks share; 0: twice the context length.',
  }),
  threads: setting.integer({
    default: 0,
    min: 0,
    max: 512,
    group,
    help: 'Compute threads; 0: half of the hardware threads. They spin while they wait: with several workers on a machine, share them out.',
  }),
  batchTokens: setting.integer({
    default: defaultOptions.batchTokens,
    min: 1,
    max: 65_536,
    group,
    help: 'Most tokens of one step.',
  }),
  maxSequences: setting.integer({
    default: defaultOptions.maxSequences,
    min: 1,
    max: 128,
    group,
    help: 'Sequences computed together.',
  }),
  maxQueuedSequences: setting.integer({
    default: defaultOptions.maxQueuedSequences,
    min: 0,
    max: 100_000,
    group,
    help: 'Sequences that may wait; more are refused as overloaded.',
  }),
  kvBlockSize: setting.integer({
    default: defaultOptions.blockSize,
    min: 8,
    max: 512,
    group,
    help: 'Tokens in a KV block: what the prefix cache and routing count in.',
  }),
  gpuLayers: setting.integer({
    default: 0,
    min: -1,
    max: 10_000,
    group,
    help: 'Layers computed by the GPU; -1: all. Needs the CUDA package and runtime.',
  }),
  flashAttention: setting.choice(['auto', 'off'], { default: 'auto', group, help: 'Flash attention.' }),
  kvKeyType: setting.choice(kvTypes, { default: 'f16', group, help: 'Number format of cached keys.' }),
  kvValueType: setting.choice(kvTypes, {
    default: 'f16',
    group,
    help: 'Number format of cached values; quantised ones need flash attention.',
  }),
  kvSliceUs: setting.integer({
    default: defaultOptions.kvSliceUs,
    min: 0,
    max: 1_000_000,
    group,
    help: 'Most microseconds between two steps that copying KV blocks out or in takes, but at least one block; 0: an eighth of the last step.',
  }),
  maxKvTransfers: setting.integer({
    default: defaultOptions.maxKvTransfers,
    min: 1,
    max: 10_000,
    group,
    help: 'Copies of KV blocks that run or wait at once; more are refused as overloaded.',
  }),
  pooling: setting.choice(['auto', 'none', 'mean', 'cls', 'last', 'rank'], {
    default: 'auto',
    group,
    help: 'Serves embeddings (rank: scores) instead of text. auto: what the file says; none: text.',
  }),
  toolCallParser: setting.string({
    default: '',
    group,
    help: "Parser of tool calls (docs/parsing.md); empty: by the chat template's markup; none: none.",
  }),
  reasoningParser: setting.string({
    default: '',
    group,
    help: "Parser of reasoning (docs/parsing.md); empty: by the chat template's markup; none: none.",
  }),
  jsonIndent: setting.integer({
    default: defaultOptions.jsonIndent,
    min: 0,
    max: 200,
    group,
    help: 'Most blanks that indent a line of JSON that a schema asks for; 0: JSON without line breaks.',
  }),
});

export type LlamacppConfig = SettingsOf<typeof llamacppSettings>;

/** What each engine of a worker is given. */
export function engineOptions(config: LlamacppConfig): LlamacppOptions[] {
  if (config.model.length === 0) {
    throw StatorError.invalid(
      'model',
      'There is no model: give --model /path/to/model.gguf (stator pull fetches one).',
    );
  }
  if (config.modelName.length > config.model.length)
    throw StatorError.invalid('modelName', 'There are more names than models.');
  checkParsers(config);
  return config.model.map((modelPath, index) => ({
    ...defaultOptions,
    modelPath,
    name: config.modelName[index] || undefined,
    contextLength: config.contextLength || undefined,
    kvTokens: config.kvTokens || undefined,
    threads: config.threads || undefined,
    batchTokens: config.batchTokens,
    maxSequences: config.maxSequences,
    maxQueuedSequences: config.maxQueuedSequences,
    blockSize: config.kvBlockSize,
    gpuLayers: config.gpuLayers,
    flashAttention: config.flashAttention === 'auto',
    keyType: config.kvKeyType,
    valueType: config.kvValueType,
    kvSliceUs: config.kvSliceUs,
    maxKvTransfers: config.maxKvTransfers,
    pooling: config.pooling,
    toolCallParser: config.toolCallParser,
    reasoningParser: config.reasoningParser,
    jsonIndent: config.jsonIndent,
    cacheDir: digestCacheDir(),
  }));
}

function digestCacheDir(): string {
  const { XDG_CACHE_HOME: configured } = environment.variables;
  const home = configured !== undefined && path.isAbsolute(configured) ? configured : path.join(os.homedir(), '.cache');
  return path.join(home, 'stator', 'digests');
}
