import type { SimulatedEngine } from '#core/scheduling/engine/engine-model.ts';
import { defaultEngineSettings, type EngineSettings, type OutputHasher } from '#core/scheduling/engine/settings.ts';
import { createSimulatedEngine } from '#core/scheduling/engine/simulated-engine.ts';
import { fixedTiming } from '#core/scheduling/engine/timing.ts';
import type { MockerOptions } from './options.ts';

/** One rank's scheduler, cache and clock. */
export function simulatedRank(o: MockerOptions, rank: number, hasher: OutputHasher): SimulatedEngine {
  const settings: EngineSettings = {
    ...defaultEngineSettings,
    // A burst is speculation of which everything is accepted.
    ...(o.burst > 1 && { acceptRates: new Array<number>(o.burst - 1).fill(1) }),
    ...o.simulation,
    seed: (o.simulation.seed ?? 0) + rank,
    kind: o.kind,
    blockSize: o.blockSize,
    totalBlocks: o.kvBlocks,
    maxSequences: o.maxSequences,
    maxBatchedTokens: o.maxBatchedTokens,
    contextLength: o.contextLength,
    kvEvents: true,
  };
  const decodeMs = o.tokensPerSecond > 0 ? (1000 * o.burst) / o.tokensPerSecond : o.stepMs;
  const prefillMsPerToken = o.prefillTokensPerSecond > 0 ? 1000 / o.prefillTokensPerSecond : 0;
  return createSimulatedEngine(settings, { timing: o.timing ?? fixedTiming({ prefillMsPerToken, decodeMs }), hasher });
}
