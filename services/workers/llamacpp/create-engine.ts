import type { Logger } from 'pino';
import { modelFree, modelInfo, vocabLoad } from '#native/llamacpp/index.ts';
import type { Engine } from '../common/engine.ts';
import { EmbeddingEngine } from './embedding-engine.ts';
import { LlamacppEngine } from './engine.ts';
import { native } from './native-errors.ts';
import type { LlamacppOptions } from './options.ts';
import { poolingOf } from './pooling.ts';

/** The engine that fits a model: one that generates, or one that embeds or scores. Reads only the file's header. */
export async function createEngine(options: LlamacppOptions, log: Logger): Promise<Engine> {
  const header = await native(() => vocabLoad(options.modelPath));
  const pooling = poolingOf(options.pooling, modelInfo(header).metadata);
  modelFree(header);
  return pooling === undefined ? new LlamacppEngine(options, log) : new EmbeddingEngine(options, pooling, log);
}
