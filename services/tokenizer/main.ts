import { runMain } from '#lib/service/run.ts';
import { tokenizerSettings } from './config.ts';
import { startTokenizer } from './service.ts';

await runMain({ name: 'tokenizer', settings: tokenizerSettings, start: startTokenizer });
