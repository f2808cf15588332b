import { TinyLfu } from '#core/blocks/eviction/tiny-lfu.ts';
import { DoublingCounters } from '#core/blocks/offload/doubling-counters.ts';
import { frequencyAdmission, type OffloadFilter, passAll, presence, presenceLfu } from '#core/blocks/offload/filter.ts';
import { OffloadPipeline } from '#core/blocks/offload/pipeline.ts';
import { TokenBucket } from '#core/blocks/offload/token-bucket.ts';
import type { SettingsOf } from '#lib/config/settings.ts';
import type { FilterName, moverSettings } from './settings.ts';

export type MoverConfig = SettingsOf<typeof moverSettings>;

const mebibyte = 2 ** 20;
/** Blocks whose frequencies are told apart. */
const frequencies = 2 ** 20;

/** The path of one tier as the settings say. */
export function pipelineOf(config: MoverConfig, tier: 'disk' | 'object', nowMs: number): OffloadPipeline {
  const filter = filterOf(tier === 'disk' ? config.diskFilter : config.objectFilter, config, nowMs);
  const mibPerSecond = tier === 'disk' ? config.diskWriteMibPerSecond : config.objectWriteMibPerSecond;
  const bytesPerSecond = mibPerSecond === 0 ? Number.POSITIVE_INFINITY : mibPerSecond * mebibyte;
  const burst = Math.max(mebibyte, Math.min(bytesPerSecond, 64 * mebibyte));
  return new OffloadPipeline(filter, new TokenBucket(bytesPerSecond, burst, nowMs), {
    maxBatch: config.offloadBatchBlocks,
    minBatch: Math.min(8, config.offloadBatchBlocks),
    maxWaiting: config.offloadMaxWaiting,
    maxConcurrent: 2,
  });
}

function filterOf(name: FilterName, config: MoverConfig, nowMs: number): OffloadFilter {
  const { offloadMinFrequency: least, offloadDecaySeconds } = config;
  if (name === 'pass_all') return passAll();
  if (name === 'presence') return presence();
  if (name === 'frequency')
    return frequencyAdmission(new DoublingCounters(frequencies, 1000 * offloadDecaySeconds, nowMs), least);
  const sketch = new TinyLfu(frequencies);
  const filter = presenceLfu(sketch, least - 1);
  return {
    name: filter.name,
    judge: (candidate, atMs) => {
      sketch.increment(candidate.low, candidate.high);
      return filter.judge(candidate, atMs);
    },
  };
}
