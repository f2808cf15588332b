import type { Logger } from 'pino';
import {
  type ModelHandle,
  type ModelInfo,
  modelInfo,
  modelLoad,
  setLogger,
  type VocabTable,
  vocabTokenBytes,
} from '#native/llamacpp/index.ts';
import { native } from './native-errors.ts';
import type { LlamacppOptions } from './options.ts';

export interface LoadedModel {
  readonly model: ModelHandle;
  readonly info: ModelInfo;
  readonly vocab: VocabTable;
}

const errorLevel = 4;

/** Loads the weights, with llama.cpp's log in ours: at debug, for much of what it warns of does not concern us; its errors as warnings. */
export async function openModel(options: LlamacppOptions, log: Logger): Promise<LoadedModel> {
  const lines = log.child({ component: 'llama.cpp' });
  return native(async () => {
    setLogger((level, line) => (level === errorLevel ? lines.warn(line) : lines.debug(line)));
    const model = await modelLoad(options.modelPath, { gpuLayers: options.gpuLayers });
    return { model, info: modelInfo(model), vocab: vocabTokenBytes(model) };
  });
}
