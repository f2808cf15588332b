import type { EngineState } from './engine-state.ts';
import type { EngineSequence } from './sequence.ts';
import { VllmScheduler } from './vllm-scheduler.ts';

/**
 * TensorRT-LLM's GUARANTEED_NO_EVICT: a request is admitted only when the blocks of its prompt and of its longest output are
 * there beside those that all admitted requests may still need, so that none ever has to give up its own.
 */
export class TrtllmScheduler extends VllmScheduler {
  protected override spareBlocks(state: EngineState, sequence: EngineSequence): number {
    let spare = futureBlocks(state, sequence, state.cache.blocksOf(sequence.length));
    for (const other of state.running) spare += futureBlocks(state, other, other.blockCount);
    for (const other of state.transferring) spare += futureBlocks(state, other, other.blockCount);
    return spare;
  }
}

function futureBlocks({ cache }: EngineState, sequence: EngineSequence, held: number): number {
  return Math.max(0, cache.blocksOf(sequence.promptTokens + sequence.maxTokens) - held);
}
