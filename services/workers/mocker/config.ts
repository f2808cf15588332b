import { defineSettings, type SettingsOf, setting } from '#lib/config/settings.ts';
import { workerSettings } from '../common/config.ts';
import { defaultMockerOptions as defaults, type MockerOptions } from './options.ts';

const group = 'Synthetic engine';
const faults = 'Injected faults';

export const mockerSettings = defineSettings({
  ...workerSettings,
  model: setting.string({ default: defaults.model, group, help: 'Name of the model.' }),
  aliases: setting.list({ default: [], group, help: 'Further names of the model.' }),
  contextLength: setting.integer({
    default: defaults.contextLength,
    min: 2,
    group,
    help: 'Tokens of prompt and output.',
  }),
  maxSequences: setting.integer({ default: defaults.maxSequences, min: 1, group, help: 'Sequences computed at once.' }),
  maxQueuedSequences: setting.integer({
    default: defaults.maxQueuedSequences,
    min: 0,
    group,
    help: 'Sequences that may wait beyond those; more are refused.',
  }),
  maxBatchedTokens: setting.integer({
    default: defaults.maxBatchedTokens,
    min: 1,
    group,
    help: 'Prompt tokens computed in one step at most.',
  }),
  blockSize: setting.integer({ default: defaults.blockSize, min: 1, max: 4096, group, help: 'Tokens in a KV block.' }),
  kvBlocks: setting.integer({ default: defaults.kvBlocks, min: 2, group, help: 'KV blocks of the cache.' }),
  stepMs: setting.number({
    default: defaults.stepMs,
    min: 0,
    max: 60_000,
    group,
    help: 'Milliseconds of a step; 0: as fast as possible.',
  }),
  burst: setting.integer({
    default: defaults.burst,
    min: 1,
    max: 1024,
    group,
    help: 'Tokens of a sequence in one step.',
  }),
  tokensPerSecond: setting.number({
    default: defaults.tokensPerSecond,
    min: 0,
    group,
    help: 'Output tokens a second of each sequence; 0: --burst tokens each step.',
  }),
  prefillTokensPerSecond: setting.number({
    default: defaults.prefillTokensPerSecond,
    min: 0,
    group,
    help: 'Prompt tokens a second of the whole engine; 0: as many as fit a step.',
  }),
  meanOutputTokens: setting.integer({
    default: defaults.meanOutputTokens,
    min: 0,
    group,
    help: 'The text ends after this many tokens on average; 0: only limits end it.',
  }),
  embeddingDimensions: setting.integer({
    default: defaults.embeddingDimensions,
    min: 0,
    max: 65_536,
    group,
    help: 'Length of embedding vectors; 0: the model does not embed.',
  }),
  taints: setting.list({ default: [], group, help: 'Labels that routing constraints match.' }),
  failSequenceAfterTokens: setting.integer({
    default: 0,
    min: 0,
    group: faults,
    help: 'Ends each sequence with an error after this many tokens; 0: never.',
  }),
  failEngineAfterTokens: setting.integer({
    default: 0,
    min: 0,
    group: faults,
    help: 'Makes the engine unusable after this many tokens in all; 0: never.',
  }),
  killAfterTokens: setting.integer({
    default: 0,
    min: 0,
    group: faults,
    help: 'Kills the process after this many tokens in all; 0: never.',
  }),
});

export type MockerConfig = SettingsOf<typeof mockerSettings>;

export function mockerOptions(config: MockerConfig): MockerOptions {
  const { failSequenceAfterTokens, failEngineAfterTokens, killAfterTokens, ...options } = config;
  return { ...options, faults: { failSequenceAfterTokens, failEngineAfterTokens, killAfterTokens } };
}
