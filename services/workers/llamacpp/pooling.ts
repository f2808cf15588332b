import { Pooling } from '#gen/stator/model/v1/model_pb.ts';
import type { PoolingMode } from './options.ts';

/** llama_pooling_type of each pooling. */
const nativeTypes = { [Pooling.MEAN]: 1, [Pooling.CLS]: 2, [Pooling.LAST]: 3, [Pooling.RANK]: 4 } as const;

export type EmbeddingPooling = keyof typeof nativeTypes;

const byName = { mean: Pooling.MEAN, cls: Pooling.CLS, last: Pooling.LAST, rank: Pooling.RANK } as const;
const byType = [undefined, Pooling.MEAN, Pooling.CLS, Pooling.LAST, Pooling.RANK] as const;

/**
 * How a model pools; undefined: it generates. `auto` takes what the file says: its pooling type, or the mean for an
 * encoder without one.
 */
export function poolingOf(mode: PoolingMode, metadata: Readonly<Record<string, string>>): EmbeddingPooling | undefined {
  if (mode === 'none') return undefined;
  if (mode !== 'auto') return byName[mode];
  const architecture = metadata['general.architecture'] ?? '';
  const declared = byType[Number(metadata[`${architecture}.pooling_type`] ?? 0)];
  if (declared !== undefined) return declared;
  return metadata[`${architecture}.attention.causal`] === 'false' ? Pooling.MEAN : undefined;
}

export function nativePooling(pooling: EmbeddingPooling): number {
  return nativeTypes[pooling];
}
