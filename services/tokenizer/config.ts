import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { defineSettings, type SettingsOf, setting } from '#lib/config/settings.ts';
import { serviceSettings } from '#lib/service/settings.ts';

const mebibyte = 1024 * 1024;

export const tokenizerSettings = defineSettings({
  ...serviceSettings,
  artifactCache: setting.string({
    default: join(homedir() || tmpdir(), '.cache', 'stator', 'artifacts'),
    group: 'Tokenizer',
    help: 'Folder that keeps tokenizer files fetched from workers on other machines.',
  }),
  prefixCacheBytes: setting.integer({
    default: 64 * mebibyte,
    min: 0,
    group: 'Tokenizer',
    help: 'Memory for token ids of texts between special tokens, over all models. 0: no cache.',
  }),
  maxInFlight: setting.integer({
    default: 16,
    min: 1,
    max: 1024,
    group: 'Tokenizer',
    help: 'Requests that are encoded at once.',
  }),
  maxQueued: setting.integer({
    default: 1024,
    min: 0,
    group: 'Tokenizer',
    help: 'Requests that may wait beyond those; more are refused as overloaded.',
  }),
  maxTextBytes: setting.integer({
    default: 8 * mebibyte,
    min: 1024,
    group: 'Tokenizer',
    help: 'Largest text of one request in characters, after rendering.',
  }),
  maxRenderMs: setting.integer({
    default: 1000,
    min: 10,
    max: 60_000,
    group: 'Tokenizer',
    help: 'Longest time that a chat template may take.',
  }),
  maxVocabularies: setting.integer({
    default: 16,
    min: 1,
    group: 'Tokenizer',
    help: 'Vocabularies kept in memory; the least recently used without a worker leave.',
  }),
});

export type TokenizerConfig = SettingsOf<typeof tokenizerSettings>;
