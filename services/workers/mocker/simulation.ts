import type { SimulatedEngine } from '#core/scheduling/engine/engine-model.ts';
import {
  defaultEngineSettings,
  type EngineSettings,
  type OutputHasher,
  type TimingModel,
} from '#core/scheduling/engine/settings.ts';
import { createSimulatedEngine } from '#core/scheduling/engine/simulated-engine.ts';
import { fixedTiming } from '#core/scheduling/engine/timing.ts';
import type { MockerOptions } from './options.ts';

/** One rank's scheduler, cache and clock. */
export function simulatedRank(o: MockerOptions, rank: number, hasher: OutputHasher): SimulatedEngine {
  return createSimulatedEngine(engineSettings(o, rank), { timing: engineTiming(o), hasher });
}

/** How the scheduler and cache of one rank behave. */
export function engineSettings(o: MockerOptions, rank: number): EngineSettings {
  return {
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
}

/** How long passes take. */
export function engineTiming(o: MockerOptions): TimingModel {
  const decodeMs = o.tokensPerSecond > 0 ? (1000 * o.burst) / o.tokensPerSecond : o.stepMs;
  const prefillMsPerToken = o.prefillTokensPerSecond > 0 ? 1000 / o.prefillTokensPerSecond : 0;
  return o.timing ?? fixedTiming({ prefillMsPerToken, decodeMs });
}
